//! What to do where the system refuses a lab.

use std::io;

use resound_lab::{LabError, LabStep};

/// Advice for a lab that could not be started.
pub(crate) fn advice(error: &LabError) -> &'static str {
    let LabError::Refused { step, reason } = error else { return "Check the path, or start it again." };
    if *step == LabStep::System {
        return "Run it on Linux, or in a virtual machine or a container there.";
    }
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let is_refused = matches!(reason.raw_os_error(), Some(EPERM | EACCES | ENOSPC))
        || reason.kind() == io::ErrorKind::PermissionDenied;
    if setting("user/max_user_namespaces").trim() == "0" {
        "User namespaces are switched off: `sudo sysctl user.max_user_namespaces=10000` allows them."
    } else if setting("kernel/unprivileged_userns_clone").trim() == "0" {
        "Only root may make user namespaces: run it as root, or `sudo sysctl kernel.unprivileged_userns_clone=1`."
    } else if setting("kernel/apparmor_restrict_unprivileged_userns").trim() == "1" && is_refused {
        "AppArmor restricts user namespaces here: run it as root, or \
         `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`."
    } else if is_refused {
        "A container needs the right to make namespaces (docker run --privileged, or --cap-add SYS_ADMIN \
         --security-opt seccomp=unconfined --security-opt apparmor=unconfined); elsewhere run it as root."
    } else {
        "The kernel needs namespaces, veth and packet sockets (CONFIG_USER_NS, CONFIG_VETH, CONFIG_PACKET)."
    }
}

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
