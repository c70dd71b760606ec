//! Every fault on a virtual clock, and the grammar.

mod answers;
mod bench;
mod connecting;
mod endings;
mod errors;
mod grammar;
mod guide;
mod pace;
mod repeat;
mod rules;
mod stream;
mod timers;
