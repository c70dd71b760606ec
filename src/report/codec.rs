//! How values stand in a file of results, for `#[serde(with = "...")]`: times in seconds, enums by
//! name. In tests each codec has the schema of what it writes as well.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use resound_console::escape;
use resound_load::{Arrivals, Direction, LoadFailure, Mode, RampVariable, Shape, Timestamps};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// No run lasts ten years.
const LONGEST: f64 = 10.0 * 365.0 * 86400.0;

/// How a file has a value of a type that is not serialisable itself.
pub(super) trait Codec {
    type Value;

    fn serialize<S: Serializer>(value: &Self::Value, to: S) -> Result<S::Ok, S::Error>;

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Self::Value, D::Error>;
}

struct Encoding<'a, C: Codec>(&'a C::Value);

impl<C: Codec> Serialize for Encoding<'_, C> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        C::serialize(self.0, to)
    }
}

struct Decoded<C: Codec>(C::Value);

impl<'de, C: Codec> Deserialize<'de> for Decoded<C> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        C::deserialize(from).map(Self)
    }
}

/// A value or null.
pub(super) struct Nullable<C>(PhantomData<C>);

impl<C: Codec> Codec for Nullable<C> {
    type Value = Option<C::Value>;

    fn serialize<S: Serializer>(value: &Self::Value, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Encoding::<C>).serialize(to)
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Self::Value, D::Error> {
        Ok(Option::<Decoded<C>>::deserialize(from)?.map(|decoded| decoded.0))
    }
}

/// A time of a run, in seconds.
pub(super) struct Seconds;

impl Codec for Seconds {
    type Value = Duration;

    fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        if !(0.0..=LONGEST).contains(&seconds) {
            return Err(D::Error::custom(format_args!("{seconds} s is not a time of a run")));
        }
        // A float is not exact: the nearest nanosecond was written.
        Ok(Duration::from_nanos((seconds * 1e9).round() as u64))
    }
}

/// A sum over connections, in seconds. There may be many connections: the sum has no limit.
pub(super) struct SummedSeconds;

impl Codec for SummedSeconds {
    type Value = Duration;

    fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        Seconds::serialize(time, to)
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(|_| D::Error::custom("not a time"))
    }
}

/// A time of day (RFC 3339).
pub(super) struct DateTime;

impl Codec for DateTime {
    type Value = SystemTime;

    fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_nanos(*time))
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        humantime::parse_rfc3339(&text)
            .map_err(|_| D::Error::custom(format_args!("'{}' is not a time (RFC 3339)", escape::text(text.as_bytes()))))
    }
}

/// An enum by the names of its variants.
pub(super) struct Name<T>(PhantomData<T>);

pub(super) trait Named: Copy + 'static {
    /// The noun for errors.
    const WHAT: &'static str;

    const ALL: &'static [Self];

    fn name(self) -> &'static str;
}

macro_rules! named {
    ($($type:ident: $what:literal),* $(,)?) => {$(
        impl Named for $type {
            const WHAT: &'static str = $what;
            const ALL: &'static [Self] = &$type::ALL;

            fn name(self) -> &'static str {
                self.name()
            }
        }
    )*};
}

named!(
    Arrivals: "arrivals",
    Direction: "direction",
    LoadFailure: "class of failures",
    Mode: "mode",
    RampVariable: "quantity to raise",
    Shape: "shape",
    Timestamps: "timestamps",
);

/// The value of this name, or an error that shows it.
fn find<T: Named, E: serde::de::Error>(name: &str) -> Result<T, E> {
    let found = T::ALL.iter().copied().find(|one| one.name() == name);
    found.ok_or_else(|| E::custom(format_args!("there is no {} '{}'", T::WHAT, escape::text(name.as_bytes()))))
}

impl<T: Named> Codec for Name<T> {
    type Value = T;

    fn serialize<S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.name())
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        find(&Cow::<str>::deserialize(from)?)
    }
}

/// Counts by class of failure; a class without failures is left out.
pub(super) struct ByClass;

impl Codec for ByClass {
    type Value = [u64; LoadFailure::ALL.len()];

    fn serialize<S: Serializer>(failures: &Self::Value, to: S) -> Result<S::Ok, S::Error> {
        let by_class = LoadFailure::ALL.iter().zip(failures).filter(|(_, n)| **n > 0);
        to.collect_map(by_class.map(|(class, n)| (class.name(), n)))
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Self::Value, D::Error> {
        let mut failures = [0; LoadFailure::ALL.len()];
        for (name, n) in BTreeMap::<String, u64>::deserialize(from)? {
            failures[find::<LoadFailure, _>(&name)?.index()] = n;
        }
        Ok(failures)
    }
}
