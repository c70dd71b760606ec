//! Checks of a path from the library: of its ends, its times, its waits and who is there, with far
//! ends that misbehave, and the watch.

mod at_once;
mod boxes;
mod ends;
mod hostile;
mod relayed;
mod times;
mod waits;
mod watch;
mod who;
