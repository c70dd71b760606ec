//! Does this path carry TCP correctly, and if not, what is wrong, in which direction, and what does
//! it look like?

pub mod watch;

mod by_chance;
mod check;
mod far_session;
mod first_checks;
mod greeted;
mod ledger;
mod machine;
mod near;
mod pace;
mod path;
mod path_run;
mod permits;
mod place;
mod probe_connection;
mod report;
mod run;
mod settings;
mod symptom;
mod together;
mod tries;

pub use check::{CheckId, UnknownCheck};
pub use path::Path;
pub use path_run::Progress;
pub use place::FirstBytes;
pub use report::{CheckReport, CheckVerdict, ControlResult, FarKind, MeasuredValue, PathDirection, PathReport};
pub use settings::Profile;
