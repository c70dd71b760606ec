//! The rules of CONTRIBUTING.md and the promises of the documents.

mod arrows;
mod documents;
