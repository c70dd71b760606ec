//! What to do about an error, in one sentence: the advice behind the library's typed errors, with
//! this program's flags and the commands of a shell.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use anyhow::anyhow;
use resound::Error;
use resound::client::{DialError, FailureClass};
use resound::system::InterfaceProblem;
use resound::tls::{CertificateFlaw, CertificateProblem, FileForm, TlsFailure};
use resound_console::escape::shell_word;

/// What a server that speaks TLS sends a client that does not, in plain text.
pub(crate) const TLS_HINT: &[u8] = b"Error: this server speaks TLS (resound client --tls)\n";

/// Interfaces that are listed; a machine with many containers has hundreds.
const LISTED: usize = 8;

/// Makes a certificate that a server can use, and its key.
const MAKE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
     -keyout key.pem -out cert.pem -days 30 -subj /CN=localhost \
     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";

const COPY_AGAIN: &str = "Copy it again, whole: from a line `-----BEGIN ...` to its line `-----END ...`.";

/// Advice for a file that cannot be read or written.
pub(crate) fn of_file(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "Check the path.",
        io::ErrorKind::IsADirectory => "Name a file.",
        io::ErrorKind::ReadOnlyFilesystem => "Name a file on a disk that can be written.",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Make room on that disk, or name another file.",
        _ => return None,
    })
}

/// Advice for what could not be started.
pub(crate) fn of_error(error: &Error) -> Cow<'static, str> {
    match error {
        Error::Address { .. } => "Write HOST PORT, HOST:PORT, [IPv6]:PORT, unix:/path, or a port alone.",
        Error::UnknownHost { .. } => {
            "Check the spelling and the family (-4, -6), or give another address, such as 127.0.0.1 or ::1."
        }
        Error::InUse { address } if address.starts_with("unix:") => {
            "Choose another path, or stop the program that listens there."
        }
        Error::NotASocket { .. } => "Choose another path: this program removes and replaces sockets only.",
        Error::InUse { .. } => {
            "Choose another port (0 picks a free one), or stop the program that holds it (`ss -ltnp` names it)."
        }
        Error::Permission { address } if address.starts_with("unix:") => "Choose a directory that you may write to.",
        Error::Permission { .. } => {
            "Choose a port from 1024 up, or grant the privilege (CAP_NET_BIND_SERVICE, or run as root)."
        }
        Error::Listen { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "Make its folder first, or choose another path."
        }
        Error::NotLocal { .. } => {
            "Use an address of this machine: 127.0.0.1 for local clients only, 0.0.0.0 or :: for every interface."
        }
        Error::Interface { address, problem, interfaces } => return of_interface(address, *problem, interfaces).into(),
        Error::Descriptors { .. } => "Raise the limit (`ulimit -n`), or close what holds the descriptors.",
        Error::Inherited { .. } => {
            "Pass a TCP or unix socket that listens: ListenStream= and Accept=no in a socket unit."
        }
        Error::NoRelay => "Use --engine auto, uring or portable.",
        Error::Faults(_) => "docs/faults.md has a table of all faults.",
        Error::ListenerFaults => "Restart the program with them.",
        Error::NoListener => "Give at least one address to listen on.",
        Error::Worker(_) => {
            "Use fewer workers, or raise the limits on threads and descriptors (`ulimit -u`, `ulimit -n`)."
        }
        Error::Congestion { .. } => {
            "On Linux `sysctl net.ipv4.tcp_allowed_congestion_control` lists what may be used; elsewhere leave it to \
             the system."
        }
        Error::Uring(_) => "Use the portable engine (`--engine portable`), or leave the choice to the program.",
        Error::Certificate { what, problem } => return of_certificate(what, problem),
        Error::Tls(_) => "Check the names, the authorities and the protocols that were given.",
        _ => "Check the address and try another one.",
    }
    .into()
}

fn of_interface(address: &str, problem: InterfaceProblem, interfaces: &[String]) -> String {
    let Some(first) = interfaces.first() else {
        return "Write the interface after the address, such as %eth0 or its number, %4.".into();
    };
    let mut listed = interfaces.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if interfaces.len() > LISTED {
        listed += &format!(" and {} more", interfaces.len() - LISTED);
    }
    match problem {
        InterfaceProblem::Missing => format!("Write it as {address}%{first}; the interfaces are {listed}."),
        _ => format!("The interfaces are {listed}."),
    }
}

/// `what` is the file as the error names it.
fn of_certificate(what: &str, problem: &CertificateProblem) -> Cow<'static, str> {
    use CertificateProblem as P;
    // The file, and one beside it to write to.
    let (from, to) = (shell_word(what), shell_word(&format!("{what}.pem")));
    match problem {
        P::Unreadable(_) => "Check the path, and that you may read the file.".into(),
        P::TooLarge => "Check the path: a certificate or a key has a few KiB.".into(),
        P::Empty | P::DamagedCertificate(_) | P::DamagedKey => COPY_AGAIN.into(),
        P::EncryptedKey => format!(
            "Write it without a passphrase, readable by you alone: (umask 077; openssl pkey -in {from} -out {to})"
        )
        .into(),
        P::OtherSection { label, .. } => of_section(label, &from, &to),
        P::OtherForm(form) => {
            let command = match form {
                FileForm::DerKey => format!("openssl pkey -inform DER -in {from} -out {to}"),
                FileForm::DerEncryptedKey => format!("openssl pkcs8 -inform DER -in {from} -out {to}"),
                FileForm::Pkcs12 => format!("openssl pkcs12 -nodes -in {from} -out {to}"),
                FileForm::Utf16 => format!("iconv -f UTF-16 -t UTF-8 {from} > {to}"),
                _ => format!("openssl x509 -inform DER -in {from} -out {to}"),
            };
            format!("Write it in PEM form: {command}").into()
        }
        P::Swapped { key } => format!("They are the wrong way round: --cert {} --key {from}", shell_path(key)).into(),
        P::Certificate(_) | P::Key(_) => format!("Another pair is made with: {MAKE}").into(),
        P::Authority { .. } => "Leave that certificate out, or replace it.".into(),
        P::Order { .. } => "The certificate of the key comes first, then the one that signed it, and so on: \
                            cat own.pem between.pem > chain.pem"
            .into(),
        P::OtherKey { key } => format!(
            "Of a pair these print the same: openssl x509 -noout -pubkey -in {from}; openssl pkey -pubout -in {}",
            shell_path(key)
        )
        .into(),
        P::Names(_) => "Check the names and addresses that the server listens on.".into(),
        _ => format!("A new pair is made with: {MAKE}").into(),
    }
}

/// For a PEM file whose first section has this label.
fn of_section(label: &str, from: &str, to: &str) -> Cow<'static, str> {
    match label {
        "CERTIFICATE" => "Its private key is in another file, which has a line -----BEGIN PRIVATE KEY-----: name that \
                          with --key FILE."
            .into(),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
            "The certificate is in another file, which has a line -----BEGIN CERTIFICATE-----.".into()
        }
        "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
            format!("Write it in the usual form: openssl x509 -in {from} -out {to}").into()
        }
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => format!(
            "An authority makes a certificate of it, or its own key does: \
             openssl req -x509 -days 30 -copy_extensions copy -in {from} -key KEY -addext \
             basicConstraints=critical,CA:FALSE -out {to}"
        )
        .into(),
        "PKCS7" | "CMS" => format!("Take the certificates out: openssl pkcs7 -print_certs -in {from} -out {to}").into(),
        "OPENSSH PRIVATE KEY" => {
            format!("Write it in PEM form, if it is RSA or ECDSA: ssh-keygen -p -m PEM -f {from}").into()
        }
        _ => format!("A new pair is made with: {MAKE}").into(),
    }
}

/// A path as a shell takes it for one word.
pub(crate) fn shell_path(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

/// Advice for a connection that could not be made.
pub(crate) fn of_dial(error: &DialError) -> Cow<'static, str> {
    let before = error.before.as_ref().and_then(|error| error.get_ref());
    if let Some(error) = before.and_then(|inner| inner.downcast_ref::<Error>()) {
        return of_error(error);
    }
    let is_unix = error.target.starts_with("unix:");
    match error.class {
        Some(FailureClass::Refused) if is_unix => {
            "Nothing listens on that path: start the server (`resound server unix:/path`), or check the path."
        }
        Some(FailureClass::Timeout) if is_unix => {
            "The process that listens on that path accepts no connection: its queue is full."
        }
        Some(FailureClass::Dns) => "Check the spelling of the host and the family, or give another address.",
        Some(FailureClass::Refused) => {
            "Nothing listens there: start the server (`resound server`), or check host and port."
        }
        Some(FailureClass::Timeout) => {
            "No answer: a firewall may drop the packets, or the host is down, or far away and the timeout too short."
        }
        Some(FailureClass::Reset) => {
            "The server may want TLS (--tls) or a PROXY header (--send-proxy) first, not serve this machine, or have \
             crashed: its log may say why."
        }
        Some(FailureClass::Unreachable) => "There is no route to that address: check the network and the address.",
        None if error.before.is_some() => {
            "Give an address of that family, or leave out what asks for it (-4, -6 or a source address)."
        }
        _ => match error.attempts.last().map(|attempt| attempt.error.kind()) {
            Some(io::ErrorKind::InvalidInput) => "The source address must be one of this machine's own.",
            Some(io::ErrorKind::AddrInUse) => "Something else uses that source port: choose another, or none.",
            Some(io::ErrorKind::PermissionDenied) if !is_unix => {
                "This needs a permission you do not have, such as for a source port below 1024."
            }
            _ if is_unix => "Check the path, and that you may write to that socket.",
            _ => "Check host and port, and that you may open that address.",
        },
    }
    .into()
}

/// Why the flag `key` cannot listen on its address, and what to do.
pub(crate) fn unbound(key: &str, error: &anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse) => anyhow!("{key}: the port is in use; 0 picks a free one"),
        Some(io::ErrorKind::PermissionDenied) => {
            anyhow!("{key}: no permission to listen there\n  Ports below 1024 need a privilege: choose a higher port.")
        }
        Some(io::ErrorKind::AddrNotAvailable) => {
            anyhow!("{key}: that is not an address of this machine\n  Choose one of its own, or a port alone.")
        }
        _ => anyhow!("{key}: {error:#}"),
    }
}

/// Advice for a failure of TLS at the client's end.
pub(crate) fn of_tls(failure: TlsFailure) -> &'static str {
    match failure {
        TlsFailure::NotTls => "The server answers, but not with TLS: leave --tls out, or check the port.",
        TlsFailure::NothingInCommon => "The server may be too old: TLS 1.2 and 1.3 are spoken here.",
        TlsFailure::NoProtocol => "Offer a protocol that the server knows (--alpn).",
        TlsFailure::NoCertificate => "The other end must show a certificate.",
        TlsFailure::UnknownIssuer => {
            "Name the authority that signed it, or the certificate itself (--ca FILE), or pin it (--pin SHA256)."
        }
        TlsFailure::WrongName => "Say which name the certificate is for (--server-name NAME), or dial that name.",
        TlsFailure::Expired | TlsFailure::NotYetValid => {
            "The server needs a certificate that is valid now; check this machine's clock as well."
        }
        TlsFailure::NotPinned => {
            "Another server may be answering, or the certificate was renewed: compare its \
             fingerprint with the server's."
        }
        TlsFailure::BadCertificate(CertificateFlaw::Authority) => {
            "Trust this very certificate (its file with --ca FILE, or --pin SHA256), or give the server one of \
             its own: add `-addext basicConstraints=critical,CA:FALSE` to `openssl req -x509`."
        }
        // Such a certificate is not read at all, pinned or not.
        TlsFailure::BadCertificate(
            CertificateFlaw::OldVersion
            | CertificateFlaw::Extension
            | CertificateFlaw::Encoding
            | CertificateFlaw::Other,
        ) => "The other end needs another certificate: no flag makes TLS take this one.",
        TlsFailure::BadCertificate(_) => {
            "The other end needs another certificate; a client trusts this very one with --pin SHA256."
        }
        TlsFailure::Refused(alert) => match alert {
            // RFC 8446, 6.2
            116 => "The server wants a certificate: give one with --cert and --key.",
            42..=46 | 48 => "The server does not accept this end's certificate: check --cert and --key.",
            112 => "The server has no certificate for that name: give another with --server-name.",
            120 => "The server knows none of the protocols: give others with --alpn, or none.",
            40 | 70 | 71 => "The two ends have no version or cipher suite in common.",
            _ => "The server's log may say why.",
        },
        TlsFailure::Damaged => "Something on the path changes what is sent.",
        TlsFailure::Misbehaved => "The other end does not keep to the protocol: is it the right port?",
        _ => "Try again.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_listed_up_to_a_limit() {
        let names = |n| vec!["x".to_string(); n];
        let unknown = |names: &[String]| of_interface("%y", InterfaceProblem::Unknown, names);
        assert_eq!(unknown(&["a".into(), "b".into()]), "The interfaces are a, b.");
        assert_eq!(unknown(&names(10)), "The interfaces are x, x, x, x, x, x, x, x and 2 more.");
        assert!(unknown(&[]).starts_with("Write the interface after the address"));
        let missing = of_interface("fe80::1", InterfaceProblem::Missing, &["eth0".into()]);
        assert_eq!(missing, "Write it as fe80::1%eth0; the interfaces are eth0.");
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for (path, word) in [("a/b-c.pem", "a/b-c.pem"), ("it's", r"'it'\''s'"), ("", "''")] {
            assert_eq!(shell_word(path), word);
        }
    }
}
