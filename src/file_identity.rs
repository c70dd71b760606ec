//! [`FileIdentity`]: whether two paths lead to one file.

use std::fs;
use std::path::{Path, PathBuf};

/// What tells one file from another, whatever it is called.
#[derive(PartialEq, Eq)]
pub(crate) enum FileIdentity {
    #[cfg(unix)]
    Inode(u64, u64),
    Path(PathBuf),
}

impl FileIdentity {
    /// `None` for a device, which takes several outputs, such as `/dev/null`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        if let Ok(found) = fs::metadata(path) {
            use std::os::unix::fs::{FileTypeExt, MetadataExt};
            return (!found.file_type().is_char_device()).then(|| Self::Inode(found.dev(), found.ino()));
        }
        #[cfg(not(unix))]
        if let Ok(path) = fs::canonicalize(path) {
            return Some(Self::Path(path));
        }
        // The file is new: its name in its folder, or where a link leads to, tells it from others.
        if let Ok(target) = fs::read_link(path) {
            let target = path.parent().map_or(target.clone(), |folder| folder.join(target));
            return Some(Self::Path(place(&target)));
        }
        Some(Self::Path(place(path)))
    }
}

/// The name of a new file, in its folder.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    path.file_name().map_or_else(|| path.into(), |name| folder.join(name))
}
