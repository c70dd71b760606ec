//! [`StartedProgram`]: the program as it was started, to be started once more.
//!
//! It is taken down before anything else happens: an installer of a new version replaces the file,
//! or leads a link to another one, at any time.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow};

/// The path, the name and the arguments that this process was started with.
#[derive(Debug)]
pub(crate) struct StartedProgram {
    path: std::io::Result<PathBuf>,
    name: OsString,
    arguments: Vec<OsString>,
}

impl StartedProgram {
    /// To be called first thing: later the file may be another one, or gone.
    pub(crate) fn of_this() -> Self {
        let mut typed = std::env::args_os();
        let name = typed.next().unwrap_or_default();
        // The path as it was typed, so that a link may lead to a new version.
        let as_typed = |running: PathBuf| typed_paths(&name).find(|path| is_running(path, &running)).unwrap_or(running);
        let path = std::env::current_exe().map(as_typed);
        Self { path, name, arguments: typed.collect() }
    }

    pub(super) fn path(&self) -> Result<&Path> {
        let known = self.path.as_deref();
        known.map_err(|error| anyhow!("the path of this program is not known: {error}"))
    }

    pub(super) fn command(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command.arg0(&self.name).args(&self.arguments);
        command
    }
}

/// The paths that a shell finds for this name.
fn typed_paths(name: &OsStr) -> impl Iterator<Item = PathBuf> {
    let has_folder = Path::new(name).components().count() > 1;
    let folders = std::env::var_os("PATH").filter(|_| !has_folder).unwrap_or_default();
    let found: Vec<_> = std::env::split_paths(&folders).map(|folder| folder.join(name)).collect();
    let typed = has_folder.then(|| PathBuf::from(name));
    // The working directory may change.
    typed.into_iter().chain(found).filter_map(|path| std::path::absolute(path).ok())
}

/// Whether this path leads to the file that this process runs.
fn is_running(path: &Path, running: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    identity(path).is_some_and(|found| identity(running) == Some(found))
}
