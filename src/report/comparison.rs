//! A comparison of two runs, as data.

use serde::{Deserialize, Serialize};

/// The comparison with the run given to `--compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Compared {
    /// The file, or files, of the base.
    pub(crate) base: String,
    /// The kind of the times compared.
    #[cfg_attr(test, schemars(extend("enum" = ["response", "service", "connect"])))]
    pub(crate) times: String,
    /// Both sides hold the same run, so that nothing is compared.
    #[serde(default)]
    pub(crate) same_run: bool,
    /// The settings in which the two differ.
    #[serde(default)]
    pub(crate) differs: Vec<String>,
    /// The number of intervals, or of blocks of them, that the bootstrap resampled: of the base and
    /// of the new run.
    pub(crate) parts: Option<(usize, usize)>,
    /// The number of repeated runs that the bootstrap resampled first: of the base and of the new
    /// run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runs: Option<(usize, usize)>,
    /// The reason if the runs cannot be compared.
    pub(crate) unable: Option<String>,
    pub(crate) rows: Vec<ComparisonRow>,
    /// Figures that one of the runs did not measure.
    #[serde(skip)]
    pub(crate) unmeasured: Vec<String>,
    /// There are too few intervals to compare.
    #[serde(skip)]
    pub(crate) has_too_few: bool,
}

/// A figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ComparisonRow {
    /// The name of the figure.
    pub(crate) metric: String,
    /// Its unit.
    #[cfg_attr(test, schemars(extend("enum" = ["us", "percent", "messages/s"])))]
    pub(crate) unit: String,
    /// The value of the base.
    #[cfg_attr(test, schemars(range(min = 0.0)))]
    pub(crate) base: f64,
    /// The value of the new run.
    #[cfg_attr(test, schemars(range(min = 0.0)))]
    pub(crate) new: f64,
    /// The lower end of the 95 % interval of `new - base`.
    pub(crate) low: f64,
    /// Its upper end.
    pub(crate) high: f64,
    /// The lower end of the 95 % interval of `new / base`; null if the base may be 0.
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 0.0)))]
    pub(crate) ratio_low: Option<f64>,
    /// Its upper end.
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 0.0)))]
    pub(crate) ratio_high: Option<f64>,
    /// The interval excludes 0.
    pub(crate) shown: bool,
}
