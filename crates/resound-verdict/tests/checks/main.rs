//! Checks of a path from the library, each against the path that it is for.

mod ends;
mod hostile;
mod times;
mod waits;
mod watch;
mod who;
