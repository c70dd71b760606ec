//! `tls`: one TLS session leads from end to end. Both ends compare the session's exporter value
//! (RFC 9266), which no box between can make equal, whatever certificates this end trusts.

use resound::tls::TlsInfo;

use super::CheckId;
use super::address::{near, samples};
use super::greet::Greetings;
use crate::near::NearFacts;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::symptom::Symptom;
use resound_probe::{FarHello, FarTls, hex};

/// What one connection shows of its TLS sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TlsSessions {
    /// The exporter values are equal.
    One,
    /// The far end's connection has no TLS.
    EndsBefore,
    /// There are two, and what shows it.
    Two(String),
    /// It cannot be told, and why.
    Unknown(&'static str),
}

fn sessions(near: &TlsInfo, far: Option<&FarTls>) -> TlsSessions {
    let Some(far) = far else { return TlsSessions::EndsBefore };
    match (near.exporter.map(|value| hex(&value)), &far.exporter) {
        (Some(here), Some(there)) if here == *there => TlsSessions::One,
        (Some(_), Some(_)) => TlsSessions::Two("the exporter values of both ends differ".into()),
        _ if near.version != far.version => {
            TlsSessions::Two(format!("this end has agreed on {}, and the far end on {}", near.version, far.version))
        }
        _ if near.version == "TLSv1.2" => TlsSessions::Unknown("sessions of TLS 1.2 may share their exporter value"),
        _ => TlsSessions::Unknown("the far end reports no exporter value"),
    }
}

/// The certificate in a few words.
fn certificate(near: &NearFacts) -> Option<String> {
    let certificate = near.certificate.as_ref()?;
    let names = certificate.names.first().cloned();
    let subject = Some(certificate.subject.clone()).filter(|subject| !subject.is_empty()).or(names)?;
    let issuer = if certificate.is_self_issued { "itself" } else { &certificate.issuer };
    Some(format!("{subject}, signed by {issuer}"))
}

fn with_facts(mut report: CheckReport, near: &NearFacts, tls: &TlsInfo) -> CheckReport {
    report = report.measure("version", tls.version).measure("cipher_suite", tls.cipher_suite);
    if let Some(group) = tls.group {
        report = report.measure("group", group);
    }
    if let Some(alpn) = &tls.alpn {
        report = report.measure("alpn", String::from_utf8_lossy(alpn).into_owned());
    }
    if let Some(certificate) = certificate(near) {
        report = report.measure("certificate", certificate);
    }
    match &near.certificate {
        Some(certificate) => report.measure("certificate_sha256", certificate.fingerprint.to_string()),
        None => report,
    }
}

fn agreed(tls: &TlsInfo) -> String {
    match tls.group {
        Some(group) => format!("{}, {group}", tls.version),
        None => tls.version.into(),
    }
}

fn judged(samples: &[(&NearFacts, &TlsInfo, &FarHello)]) -> CheckReport {
    let id = CheckId::Tls;
    let all: Vec<_> = samples.iter().map(|(_, tls, far)| sessions(tls, far.tls.as_ref())).collect();
    let is_broken = |one: &TlsSessions| matches!(one, TlsSessions::EndsBefore | TlsSessions::Two(_));
    let at = all
        .iter()
        .position(is_broken)
        .or_else(|| all.iter().position(|one| matches!(one, TlsSessions::Unknown(_))))
        .unwrap_or(0);
    let (near, tls, far) = samples[at];
    let shown = certificate(near).unwrap_or_else(|| "no certificate".into());
    let report = match &all[at] {
        TlsSessions::One => {
            CheckReport::new(id, CheckVerdict::Pass, format!("one session from end to end: {}", agreed(tls)))
        }
        TlsSessions::Unknown(why) => CheckReport::new(
            id,
            CheckVerdict::Unknown,
            format!("{}; whether one session leads from end to end cannot be told: {why}", agreed(tls)),
        ),
        TlsSessions::EndsBefore => {
            CheckReport::new(id, CheckVerdict::Warn, "TLS ends before the far end: something between decrypts")
                .saw("the far end's connection has no TLS")
        }
        TlsSessions::Two(what) => {
            let server_name = far.tls.as_ref().and_then(|tls| tls.server_name.clone());
            let asked = server_name.map_or_else(String::new, |name| format!("; it was asked for the name {name}"));
            CheckReport::new(id, CheckVerdict::Warn, "two TLS sessions: something between decrypts and encrypts anew")
                .saw(format!("{what}{asked}"))
        }
    };
    let good = all.iter().filter(|one| !is_broken(one)).count();
    let report = if is_broken(&all[at]) {
        report
            .towards(PathDirection::Both)
            .saw(format!("the certificate that this end was shown: {shown}"))
            .suspects("a load balancer or a proxy that ends TLS, or a box that inspects traffic")
    } else {
        report
    };
    with_facts(report, near, tls).tried(good, samples.len())
}

/// `has_tls`: the run is one with TLS.
pub(crate) fn tls(greetings: &Greetings, has_tls: bool) -> CheckReport {
    let id = CheckId::Tls;
    if !has_tls {
        return CheckReport::new(id, CheckVerdict::Skip, "the connections have no TLS: --tls");
    }
    let both: Vec<_> =
        samples(greetings).into_iter().filter_map(|(near, far)| Some((near, near.tls.as_ref()?, far))).collect();
    if !both.is_empty() {
        return judged(&both);
    }
    if let Some((near, tls)) = near(greetings).and_then(|near| Some((near, near.tls.as_ref()?))) {
        let shown = certificate(near).unwrap_or_else(|| "no certificate".into());
        let what = format!("{}; the certificate is {shown}", agreed(tls));
        return with_facts(CheckReport::new(id, CheckVerdict::Pass, what), near, tls)
            .saw("only resound server can show whether this session ends at the server itself")
            .tried(1, 1);
    }
    let symptoms: Vec<_> = greetings.tries.iter().filter_map(|tried| tried.result.as_ref().err()).collect();
    let report = match symptoms.first() {
        Some(symptom @ Symptom::NoTls(_)) => CheckReport::new(id, CheckVerdict::Fail, symptom.to_string())
            .suspects("another certificate than this end expects: the server's own, or that of a box between"),
        Some(symptom @ Symptom::HelloLost(_)) => {
            CheckReport::new(id, CheckVerdict::Unknown, format!("{symptom}: the server or the path"))
        }
        Some(symptom) => CheckReport::new(id, CheckVerdict::Unknown, format!("not judged: {symptom}")),
        None => CheckReport::new(id, CheckVerdict::Unknown, "not judged"),
    };
    report.tried(0, symptoms.len())
}

#[cfg(test)]
mod tests;
