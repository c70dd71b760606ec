//! Files of text that a flag names: their size is limited, and no pipe without a writer is waited
//! for.

use std::io::{self, Read};
use std::path::Path;

use resound::system::open_file;

/// The largest file. One with every flag of every command, or a thousand faults, is a hundredth of
/// it.
const LARGEST: u64 = 1024 * 1024;

/// Why a file is no text that this program reads, as a sentence after its name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TextFileError {
    #[error("cannot read it: {}", resound::system::plain(.0))]
    Unreadable(io::Error),
    #[error("it is a directory: name a file")]
    Directory,
    #[error("it is not a regular file (a pipe or a device), which could not be read again")]
    NotRegular,
    #[error("it is larger than 1 MiB: is it the right file?")]
    TooLarge,
    #[error("it is not UTF-8 from byte {} on: save it as UTF-8", .valid.len())]
    NotUtf8 {
        /// The text before.
        valid: String,
    },
}

// Without a source: the text of the error has it.
impl From<io::Error> for TextFileError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// The text of a file that may be read again later: a pipe would be empty then.
pub(crate) fn read(path: &Path) -> Result<String, TextFileError> {
    let file = open_file(path)?;
    if file.metadata()?.is_file() { read_all(file) } else { Err(not_regular(path)) }
}

/// The text of a file that is read once: it may be a pipe.
pub(crate) fn read_once(path: &Path) -> Result<String, TextFileError> {
    if path.is_dir() {
        return Err(TextFileError::Directory);
    }
    read_all(open_file(path)?)
}

fn not_regular(path: &Path) -> TextFileError {
    if path.is_dir() { TextFileError::Directory } else { TextFileError::NotRegular }
}

fn read_all(file: impl Read) -> Result<String, TextFileError> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(TextFileError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        TextFileError::NotUtf8 { valid: String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned() }
    })
}
