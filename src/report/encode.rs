//! Distributions in HdrHistogram's V2 encoding, compressed, in base64.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use resound_load::Latency;

/// The cookies of <https://github.com/HdrHistogram/HdrHistogram>: V2, and V2 compressed, each with
/// a word size of one byte.
const PLAIN: u32 = 0x1c84_9303 | 0x10;
const COMPRESSED: u32 = 0x1c84_9304 | 0x10;
/// Cookie, length, offset, digits, lowest, highest, ratio.
const HEADER: usize = 40;
/// The limit of an unpacked distribution: an hour with every bucket in use takes some 300 KB.
const LARGEST: u64 = 4 << 20;

/// A histogram that covers the times.
pub(crate) fn histogram(times: &Latency) -> Result<Histogram<u64>> {
    // The format has signed counts.
    let most = i64::MAX as u64;
    let highest = times.max().map_or(2, |max| u64::try_from(max.as_nanos()).unwrap_or(most)).clamp(2, most);
    let mut histogram = Histogram::new_with_bounds(1, highest, 3).context("cannot make a histogram")?;
    for bucket in times.buckets() {
        histogram.saturating_record_n(bucket.to.min(highest), bucket.count.min(most));
    }
    Ok(histogram)
}

/// Encodes as base64.
pub(crate) fn encode(times: &Latency) -> Result<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(&histogram(times)?, &mut bytes).context("cannot encode a histogram")?;
    Ok(STANDARD.encode(bytes))
}

/// Decodes base64 from an untrusted file: memory stays bounded.
pub(crate) fn decode(text: &str) -> Result<Latency> {
    ensure!(text.len() as u64 <= LARGEST, "a histogram of {} bytes is too large", text.len());
    let bytes = STANDARD.decode(text).context("a histogram is not base64")?;
    let word = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
    let mut plain = Vec::new();
    match word(&bytes, 0) {
        Some(COMPRESSED) => {
            let unpacked =
                flate2::read::ZlibDecoder::new(&bytes[8.min(bytes.len())..]).take(LARGEST).read_to_end(&mut plain);
            unpacked.context("a histogram cannot be unpacked")?;
        }
        Some(PLAIN) => plain = bytes,
        _ => bail!("a histogram is not in HdrHistogram's V2 encoding"),
    }
    // The decoder allocates the length in the header before it reads the data.
    let promised = word(&plain, 4).context("a histogram is cut short")? as usize;
    ensure!(plain.len() >= HEADER && promised == plain.len() - HEADER, "a histogram is cut short");
    ensure!(word(&plain, 12).is_some_and(|digits| digits <= 3), "a histogram has more than three significant digits");
    let histogram: Histogram<u64> =
        Deserializer::new().deserialize(&mut plain.as_slice()).context("a histogram cannot be decoded")?;
    Ok(Latency::from(&histogram))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Latency {
        Latency::of([(0, 1), (1, 1), (50_000, 10_000), (1_000_000_007, 3), (7_200_000_000_000, 1)])
    }

    #[test]
    fn an_encoded_distribution_is_decoded() {
        for times in [Latency::default(), some(), Latency::of([(1, 5)]), Latency::of([(i64::MAX as u64, 2)])] {
            assert_eq!(decode(&encode(&times).unwrap()).unwrap(), times);
        }
    }

    #[test]
    fn invalid_histograms_are_rejected() {
        let good = encode(&some()).unwrap();
        for cut in 0..good.len() {
            // Only the return matters.
            let _ = decode(&good[..cut]);
        }
        for text in ["", "not base64!", "AAAA", &STANDARD.encode([0; 100])] {
            assert!(decode(text).is_err(), "{text}");
        }
        let mut bytes = STANDARD.decode(&good).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 0x55;
            let _ = decode(&STANDARD.encode(&bytes));
            bytes[at] ^= 0x55;
        }
    }

    #[test]
    fn a_large_length_in_a_header_allocates_nothing() {
        let mut plain = PLAIN.to_be_bytes().to_vec();
        plain.extend(u32::MAX.to_be_bytes());
        plain.extend([0; 100]);
        assert!(decode(&STANDARD.encode(&plain)).unwrap_err().to_string().contains("cut short"));
        let mut zeros = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::repeat(0).take(100 << 20), &mut zeros).unwrap();
        let zeros = zeros.finish().unwrap();
        let mut bomb = COMPRESSED.to_be_bytes().to_vec();
        bomb.extend((zeros.len() as u32).to_be_bytes());
        bomb.extend(zeros);
        assert!(decode(&STANDARD.encode(&bomb)).is_err());
    }
}
