//! Every defect of a path on a virtual clock. The packets are made and read by `etherparse`.

mod any_bytes;
mod bench;
mod capture;
mod connections;
mod corruption;
mod errors;
mod fragments;
mod grammar;
mod headers;
mod loss;
mod mtu;
mod nat;
mod offload;
mod repeat;
mod split;
mod stacks;
mod summary;
mod timing;
