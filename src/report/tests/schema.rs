//! The schema of the results, made from the types that write them.

use std::borrow::Cow;
use std::path::Path;

use resound_load::LoadFailure;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::super::codec::{ByClass, DateTime, Name, Named, Nullable, Seconds, SummedSeconds};
use super::super::document::{Document, IntervalLine};

/// What `resound load --json` and `resound report --json` write. With `--interval`, `resound load`
/// writes one object a line: intervals, and last the result. Names have their units: _s seconds,
/// _us microseconds, _per_s per second.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(title = "Results of resound load")]
#[expect(dead_code, reason = "only its schema is used")]
enum LoadOutput {
    Result(Box<Document>),
    Interval(Box<IntervalLine>),
}

/// Set in the environment, it makes the test write the file instead of comparing it.
const REWRITE: &str = "RESOUND_WRITE_SCHEMA";

#[test]
fn the_schema_is_that_of_the_types() {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<LoadOutput>());
    tighten_schema(&mut schema);
    let schema = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/load.schema.json");
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let saved = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    assert!(saved == schema, "{} is out of date: set {REWRITE}=1 to write it", path.display());
}

/// Adds the rules that types do not express: no object has other fields, amounts are not negative,
/// and a field with a default may be missing, since older versions did not write it.
pub(crate) fn tighten_schema(schema: &mut Value) {
    let Value::Object(object) = schema else {
        if let Value::Array(values) = schema {
            values.iter_mut().for_each(tighten_schema);
        }
        return;
    };
    // JSON Schema does not define the integer formats of Rust.
    if object.get("format").is_some_and(|format| format.is_string() && format != "date-time") {
        object.remove("format");
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    let mut defaults = Vec::new();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, field) in properties.iter_mut() {
            let Value::Object(field) = field else { continue };
            if field.remove("default").is_some() {
                defaults.push(name.clone());
            }
            let is_number = field.get("type").is_some_and(|kind| kind.to_string().contains("number"));
            if is_number && (name.ends_with("_us") || name.ends_with("_s")) {
                field.insert("minimum".into(), json!(0));
            }
        }
        object.entry("additionalProperties").or_insert(json!(false));
    }
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.retain(|name| defaults.iter().all(|default| name != default));
    }
    object.values_mut().for_each(tighten_schema);
}

macro_rules! schema {
    ($(($($generics:tt)*) $codec:ty: |$generator:ident| $schema:expr;)*) => {$(
        impl<$($generics)*> JsonSchema for $codec {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($codec).into()
            }

            fn schema_id() -> Cow<'static, str> {
                std::any::type_name::<Self>().into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

schema! {
    () Seconds: |_generator| json_schema!({ "type": "number", "minimum": 0 });
    () SummedSeconds: |_generator| json_schema!({ "type": "number", "minimum": 0 });
    () DateTime: |_generator| json_schema!({ "type": "string", "format": "date-time" });
    () ByClass: |generator| json_schema!({
        "type": "object",
        "propertyNames": Name::<LoadFailure>::json_schema(generator),
        "additionalProperties": { "type": "integer", "minimum": 0 },
    });
    (T: Named) Name<T>: |_generator| json_schema!({
        "enum": T::ALL.iter().map(|one| one.name()).collect::<Vec<_>>(),
    });
    (C: JsonSchema) Nullable<C>: |generator| Option::<C>::json_schema(generator);
}
