//! The rules of CONTRIBUTING.md and the promises of the documents.

mod api;
mod arrows;
mod documents;
mod imports;
mod rules;
