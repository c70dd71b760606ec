//! Timers, buffers, and the named profiles with times that a test can wait for.

use crate::row::{Row, row};

pub(super) const ROWS: &[Row] = &[
    row("idle-close=4s", &["warn idle"]).idle(8),
    row("idle-reset=4s", &["warn idle"]).idle(8),
    row("idle-silent=4s", &["fail idle"]).idle(8),
    row("up: idle-silent=4s", &["fail idle"]).idle(8),
    row("half-closed-idle=4s", &["warn half-closed-idle"]).idle(8),
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
    row("idle-silent=17500ms; half-closed-idle=4s", &["fail idle", "warn half-closed-idle"]).idle(20),
    // nginx-stream-default
    row("idle-close=600s", &[]),
];
