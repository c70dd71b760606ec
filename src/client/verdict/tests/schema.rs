//! The schema of the results, made from the types that write them.

use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::client::verdict::document::TestDocument;
use crate::report::tighten_schema;

/// Set in the environment, it makes the test write the file instead of comparing it.
const REWRITE: &str = "RESOUND_WRITE_SCHEMA";

pub(super) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/test.schema.json")
}

// The schema of a control; a description here would stand in the file.
#[derive(schemars::JsonSchema)]
#[schemars(rename = "ControlPart")]
#[expect(dead_code, reason = "only its schema is used")]
pub(in crate::client::verdict) struct ControlSchema {
    /// What it was.
    what: String,
    /// How often it was tried.
    tries: u32,
    /// How often it went well.
    ok: u32,
}

/// The schema of a measured value.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(in crate::client::verdict) enum AnyMeasured {
    Number(f64),
    Flag(bool),
    Text(String),
    /// A number that is none, such as 0/0.
    Nothing(()),
}

#[test]
fn the_schema_of_a_test_is_that_of_the_types() {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<TestDocument<'_>>());
    tighten_schema(&mut schema);
    let schema = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(path(), &schema).unwrap();
    }
    let saved = std::fs::read_to_string(path()).unwrap_or_default().replace("\r\n", "\n");
    assert!(saved == schema, "{} is out of date: set {REWRITE}=1 to write it", path().display());
}
