//! What passed the router.

use std::fmt;

use serde::Serialize;

/// What passed the router, and what each defect did to it. It prints as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {}

impl fmt::Display for Summary {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
