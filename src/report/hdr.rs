//! An HdrHistogram log, readable by HistogramLogProcessor and similar tools.

use anyhow::Result;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::run::Run;
use super::{describe, encode, text};

/// A line for each interval and each kind of time. The most important kind has no tag: tools read
/// untagged lines by default.
pub(crate) fn render(run: &Run) -> Result<Vec<u8>> {
    let mut to = Vec::new();
    let record = &run.record;
    let main = run.main().0;
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!(
            "[resound load on {}: {}]",
            describe::target(&record.settings),
            describe::load(&record.settings)
        ))
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("[Nanoseconds. Without a tag: {main} time; the others have theirs]"))
        .with_start_time(record.started)
        .with_base_time(record.started)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut to, &mut serializer)?;
    for interval in &record.intervals {
        for (name, times) in text::distributions(interval) {
            let tag = if name == main { None } else { Tag::new(name) };
            log.write_histogram(&encode::histogram(times.all)?, interval.start, interval.length, tag)?;
        }
    }
    Ok(to)
}
