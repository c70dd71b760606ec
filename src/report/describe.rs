//! A run's settings in words.

use resound_console::escape;
use resound_load::{
    Arrivals, Direction, MOST_IN_FLIGHT, Mode, RampVariable, Record, Security, Settings, Shape, Sizes, Timestamps,
};

use super::merge;
use super::run::Run;
use crate::units;

/// `open loop`, `closed loop` ...
pub(crate) fn shape(settings: &Settings) -> &'static str {
    match settings.shape {
        Shape::Closed => "closed loop",
        Shape::Open => "open loop",
        Shape::Connect => "connections",
        Shape::Stream => match settings.direction {
            Some(Direction::Send) => "stream, sending",
            Some(Direction::Receive) => "stream, receiving",
            _ => "stream, both ways",
        },
        Shape::Ramp => "ramp",
    }
}

/// The target, escaped.
pub(crate) fn target(settings: &Settings) -> String {
    escape::text(settings.target.as_bytes())
}

/// The time measured; of several generators also whether they ran at once, which decides how their
/// rates were merged.
pub(crate) fn measured(run: &Run) -> String {
    let (elapsed, n) = (units::latency(run.record.elapsed), run.sources.len());
    if n < 2 {
        return elapsed;
    }
    if !run.repetitions.is_empty() {
        return format!(
            "{elapsed}, in {} runs that repeat each other, one after the other here",
            run.repetitions.len()
        );
    }
    let (together, _) = merge::together(&run.sources);
    let together = units::latency(together);
    match merge::ran_at_once(&run.sources) {
        true => format!("{elapsed}, by {n} generators, at once for {together}: rates are added"),
        false => format!(
            "{}, by {n} generators that did NOT run at once (all of them for {together}): \
             rates are those of that time, not added",
            units::latency(merge::covered(&run.sources))
        ),
    }
}

/// The warm-up, if there was one, after these words.
pub(crate) fn warm_up(record: &Record, behind: &str) -> String {
    let time = Some(record.warm_up).filter(|time| !time.is_zero());
    time.map_or_else(String::new, |time| format!("{behind}{} of warm-up", units::latency(time)))
}

/// A level of a ramp, with its unit.
pub(crate) fn level(settings: &Settings, level: f64) -> String {
    match settings.ramp.as_ref().map(|ramp| ramp.of) {
        Some(RampVariable::Rate) => format!("{} msg/s", units::rate(level)),
        Some(RampVariable::Connections) => units::counted(level as u64, "connection"),
        None => units::rate(level),
    }
}

/// The levels of a ramp: `1,000 to 20,000 msg/s by 1,000`.
pub(crate) fn levels(settings: &Settings) -> Option<String> {
    let ramp = settings.ramp.as_ref()?;
    let number = |level: f64| match ramp.of {
        RampVariable::Rate => units::rate(level),
        RampVariable::Connections => units::count(level as u64),
    };
    Some(format!("{} to {} by {}", number(ramp.from), level(settings, ramp.to), number(ramp.by)))
}

/// The rate of messages and the number of connections.
pub(crate) fn pace(settings: &Settings) -> Vec<String> {
    let rate = settings.rate.map(|rate| format!("{} msg/s", units::rate(rate)));
    let is_raised = settings.ramp.as_ref().is_some_and(|ramp| ramp.of == RampVariable::Connections);
    let connections = (!is_raised).then(|| units::counted(settings.connections, "connection"));
    [levels(settings), rate, connections].into_iter().flatten().collect()
}

/// The load in one line: shape, messages, rate and connections.
pub(crate) fn load(settings: &Settings) -> String {
    let mut parts = vec![shape(settings).to_string()];
    parts.extend(pace(settings));
    if let Some(ramp) = &settings.ramp {
        parts.push(format!("a step every {} until {}", units::latency(ramp.every), conditions(&ramp.until)));
    }
    if settings.is_open() {
        parts.push(match settings.arrivals {
            Arrivals::Fixed => "evenly spaced".into(),
            Arrivals::Poisson => "Poisson arrivals".into(),
        });
    }
    if (2..MOST_IN_FLIGHT).contains(&settings.depth) {
        parts.push(format!("{} in flight on each", units::count(settings.depth)));
    }
    if let Some(messages) = settings.messages_per_connection {
        parts.push(format!("{} on each", units::counted(messages, "message")));
    }
    if settings.shape != Shape::Stream {
        parts.push(size(&settings.size));
    }
    if !settings.think_time.is_zero() {
        parts.push(format!("{} between answer and message", units::latency(settings.think_time)));
    }
    parts.join(", ")
}

fn conditions(until: &[String]) -> String {
    let until: Vec<_> = until.iter().map(|condition| escape::text(condition.as_bytes())).collect();
    until.join(" or ")
}

/// `64 bytes`, `1.0 KiB to 2.0 KiB`.
pub(crate) fn size(sizes: &Sizes) -> String {
    match sizes {
        Sizes::Fixed(size) => units::bytes(*size),
        Sizes::Range(from, to) => format!("{} to {}", units::bytes(*from), units::bytes(*to)),
        Sizes::Weighted(sizes) => {
            let (least, most) =
                sizes.iter().fold((u64::MAX, 0), |(low, high), (size, _)| (low.min(*size), high.max(*size)));
            format!("{} sizes from {} to {}", sizes.len(), units::bytes(least.min(most)), units::bytes(most))
        }
    }
}

/// The reaction of the target to a message.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Echo => "echo: it sends back what it gets",
        Mode::Reply => "reply: it answers each line",
        Mode::Discard => "discard: it answers nothing",
        Mode::Chargen => "chargen: it sends a pattern of its own",
    }
}

/// `TLSv1.3, TLS_AES_256_GCM_SHA384, X25519MLKEM768, full handshakes`: the negotiated parameters,
/// if a handshake succeeded.
pub(crate) fn tls(tls: &Security) -> String {
    let agreed = tls.agreed.as_ref();
    let agreed = agreed.into_iter().flat_map(|agreed| {
        [Some(&agreed.version), Some(&agreed.cipher_suite), agreed.group.as_ref()].into_iter().flatten()
    });
    let mut parts: Vec<_> = agreed.map(|word| escape::text(word.as_bytes())).collect();
    parts.push(if tls.resumes { "sessions resumed" } else { "full handshakes" }.into());
    if !tls.is_checked {
        parts.push("certificate not checked".into());
    }
    parts.join(", ")
}

/// All settings for a table, by the names of their flags.
pub(crate) fn table(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut rows =
        vec![("target", target(settings)), ("mode", mode(settings.mode).into()), ("shape", shape(settings).into())];
    if let Some(rate) = settings.rate {
        rows.push(("rate", format!("{} msg/s", units::rate(rate))));
        rows.push(("arrivals", settings.arrivals.name().into()));
    }
    if let (Some(levels), Some(ramp)) = (levels(settings), &settings.ramp) {
        rows.push(("steps", levels));
        rows.push(("every", units::latency(ramp.every)));
        rows.push(("until", conditions(&ramp.until)));
    }
    rows.push(("connections", units::count(settings.connections)));
    let depth = if settings.depth < MOST_IN_FLIGHT {
        units::count(settings.depth)
    } else {
        format!("{} at most", units::count(settings.depth))
    };
    rows.push(("depth", depth));
    rows.push(("size", size(&settings.size)));
    let mut optional = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    optional("duration", settings.duration.map(units::latency));
    optional("messages", settings.messages.map(units::count));
    optional("messages per connection", settings.messages_per_connection.map(units::count));
    optional("connect rate", settings.connect_rate.map(|rate| format!("{} conn/s", units::rate(rate))));
    optional("tls", settings.tls.as_ref().map(tls));
    optional("proxy header", settings.proxy.map(|version| format!("v{version}")));
    optional("think time", Some(settings.think_time).filter(|time| !time.is_zero()).map(units::latency));
    optional("busy poll", Some(settings.busy_poll).filter(|time| !time.is_zero()).map(units::latency));
    let clock = match settings.timestamps {
        Timestamps::Clock => "this program's clock",
        Timestamps::Kernel => "the kernel's clock, at the network device",
    };
    rows.push(("service times", clock.into()));
    rows.push(("verified", if settings.verify { "every byte of every answer" } else { "no" }.into()));
    rows.push(("seed", settings.seed.to_string()));
    if !settings.command.is_empty() {
        rows.push(("command", escape::text(settings.command.as_bytes())));
    }
    rows
}

/// The text with a capital letter in front.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
