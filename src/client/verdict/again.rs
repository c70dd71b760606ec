//! The command that shows a check again.

use resound::Address;
use resound_console::escape;
use resound_verdict::{CheckId, Profile};

use super::record::MESSAGES;
use crate::client::plan::{PathSelection, TestTask};

/// The command for one check, with the flags that lead to the server.
pub(super) fn command(task: &TestTask, target: &Address, family: &str, id: &str) -> String {
    let mut words: Vec<String> = vec!["resound".into(), "test".into()];
    match target {
        _ if task.loopback => words.push("--loopback".into()),
        Address::Tcp { host, port } => words.extend([host.clone(), port.to_string()]),
        Address::Unix(_) => words.push(target.to_string()),
    }
    let is_name = matches!(target, Address::Tcp { host, .. } if !is_number(host));
    let has_family = task.flags.iter().any(|flag| flag == "-4" || flag == "-6");
    match family {
        "ipv4" if is_name && !has_family => words.push("-4".into()),
        "ipv6" if is_name && !has_family => words.push("-6".into()),
        _ => {}
    }
    words.extend(task.flags.iter().cloned());
    words.extend(["--only".into(), id.into()]);
    if id == MESSAGES {
        let expect = task.expect.and_then(|expect| clap::ValueEnum::to_possible_value(&expect));
        words.extend(expect.map(|value| ["--expect".to_string(), value.get_name().into()]).into_iter().flatten());
    } else if let Some(path) = &task.path {
        words.extend(of_path(path, id));
    }
    words.iter().map(|word| escape::shell_word(word)).collect::<Vec<_>>().join(" ")
}

fn of_path(path: &PathSelection, id: &str) -> Vec<String> {
    let mut words = vec!["--seed".into(), path.seed.to_string()];
    if path.profile == Profile::Thorough {
        words.push("--thorough".into());
    }
    if let Some(idle) = path.idle.filter(|_| id.contains("idle")) {
        words.extend(["--idle".into(), humantime::format_duration(idle).to_string().replace(' ', "")]);
        if path.finds_idle_timeout {
            words.push("--find-idle-timeout".into());
        }
    }
    if let Some(connections) = path.connections.filter(|_| id == CheckId::Cap.name()) {
        words.extend(["--connections".into(), connections.to_string()]);
    }
    words
}

fn is_number(host: &str) -> bool {
    host.split('%').next().is_some_and(|host| host.parse::<std::net::IpAddr>().is_ok())
}
