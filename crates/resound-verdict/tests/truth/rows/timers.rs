//! Timers, buffers, and the named profiles with times that a test can wait for.

use crate::row::{Row, row};

pub(super) const ROWS: &[Row] = &[
    row("idle-close=1.5s", &["warn idle"]).idle(4),
    row("idle-reset=1.5s", &["warn idle"]).idle(4),
    row("idle-silent=1.5s", &["fail idle"]).idle(4),
    row("up: idle-silent=1.5s", &["fail idle"]).idle(4),
    row("half-closed-idle=1.5s", &["warn half-closed-idle"]).idle(4),
    row("no-backpressure", &["fail hidden-buffer out"]),
    row("up: no-backpressure", &["fail hidden-buffer out"]),
    row("down: no-backpressure", &[]),
    row("hold=1MiB", &[]),
    row("hold=8MiB", &["warn hidden-buffer"]),
    row("up: hold=8MiB", &["warn hidden-buffer"]),
    row("down: hold=8MiB", &[]),
    row("nagle", &["warn nagle"]).timed().short(),
    row("no-keepalive", &[]),
    // aws-nlb, azure-lb
    row("idle-silent=350s", &[]),
    row("idle-silent=240s", &[]),
    // azure-lb-reset
    row("idle-reset=240s", &[]),
    // docker-proxy-2016, envoy-before-2026, keploy and podman-rootless have rows of their own.
    // ipvs
    row("idle-silent=900s; half-closed-idle=60s", &[]),
    row("idle-silent=7s; half-closed-idle=1.5s", &["fail idle", "warn half-closed-idle"]).idle(10),
    // nginx-stream-default
    row("idle-close=600s", &[]),
];
