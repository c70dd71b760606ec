//! The flags of `resound top`.

use anyhow::Result;
use clap::Args;

use super::examples;
use crate::top::{AdminAddress, TopColumn, TopPlan};

#[derive(Args)]
#[command(after_help = examples::TOP_NOTES, after_long_help = examples::long_help("top"))]
pub(crate) struct TopArgs {
    /// Address of the program's --admin; a port alone means 127.0.0.1
    ///
    /// While it runs, ? lists the keys.
    #[arg(value_name = "ADMIN", value_parser = AdminAddress::parse, default_value = "9464")]
    admin: AdminAddress,
    /// Print the figures and the connections once, as text (as without a terminal)
    #[arg(long)]
    once: bool,
    /// Sort the connections by this column, the highest values first
    #[arg(long, value_enum, value_name = "COLUMN", default_value = "in")]
    sort: TopColumn,
}

impl TopArgs {
    pub(crate) fn meaning(self) -> Result<TopPlan> {
        Ok(TopPlan { admin: self.admin, once: self.once, sort: self.sort })
    }
}
