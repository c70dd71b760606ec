//! A load run whose target stalls: a loop without a plan sends nothing meanwhile, and that must not
//! look like a success; on every engine.

use std::net::SocketAddr;
use std::time::Duration;

use resound::{Echo, Engine};
use resound_load::{Load, Mode, Phase, RampSteps, RampVariable};

use super::{assert_warns, echoing, lasting, load, ramped, rates, run, run_until, settings};
use crate::harness::{Running, on_each_engine_once, server};

on_each_engine_once! {
    a_stall_of_a_closed_loop_is_time_without_an_answer,
    a_connection_that_is_answered_after_the_end_is_silent,
    a_step_that_reached_little_of_its_rate_has_not_held,
    a_wait_counts_in_each_step_in_which_it_lies,
}

fn closed_loop(engine: Engine, to: SocketAddr, duration: Duration) -> Load {
    load(engine, to, lasting(duration, settings(Mode::Echo)))
}

fn a_stall_of_a_closed_loop_is_time_without_an_answer(engine: Engine) {
    // In the middle, and until after the end: what lies in the time that is measured counts.
    for (duration, least, most) in [(1000, 1190, 4000), (200, 1, 800)] {
        let server = echoing(engine, "late-answer=300ms @message=6");
        let record = run(closed_loop(engine, server.address(), Duration::from_millis(duration)));
        let (total, counts) = (&record.total, &record.total.counts);
        let [least, most] = [least, most].map(Duration::from_millis);
        assert!(total.stall >= least && total.stall <= most, "{:?} of {:?}", total.stall, total.service);
        assert_eq!((total.outage, counts.silent, counts.errors()), (Duration::ZERO, 0, 0), "{counts:?}");
        assert_warns(&record, "of the time of its connections nothing was answered");
    }
}

fn a_connection_that_is_answered_after_the_end_is_silent(engine: Engine) {
    let server = echoing(engine, "2-: late-answer=700ms");
    let record = run(closed_loop(engine, server.address(), Duration::from_millis(300)));
    let (total, counts) = (&record.total, &record.total.counts);
    assert_eq!((counts.silent, counts.errors()), (3, 0), "{counts:?}");
    assert!(counts.late >= 3, "{counts:?}");
    assert!(
        total.stall >= Duration::from_millis(600) && total.stall <= Duration::from_millis(1200),
        "{:?}",
        total.stall
    );
    assert_warns(&record, "3 of 4 connections got nothing before the end of the run");
}

/// It ends in the second step, and most of it is in the first.
fn a_wait_counts_in_each_step_in_which_it_lies(engine: Engine) {
    let server = echoing(engine, "late-answer=900ms @message=6");
    let every = Duration::from_millis(600);
    let ramp = RampSteps { of: RampVariable::Connections, every, ..rates(1.0, 1.0, 2.0) };
    let record = run(ramped(engine, server.address(), 1, ramp));
    let [first, second] = &record.steps[..] else { panic!("{} steps", record.steps.len()) };
    assert!(first.total.stall >= every / 2, "{:?}", first.total.stall);
    let broken = first.broken.as_deref().unwrap();
    assert!(broken.contains("of the time nothing was answered"), "{broken}");
    // That of both connections.
    assert!(second.total.stall >= every / 2, "{:?}", second.total.stall);
    assert!(first.total.stall + second.total.stall <= record.total.stall + every / 10, "{:?}", record.total.stall);
}

fn a_step_that_reached_little_of_its_rate_has_not_held(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let every = Duration::from_millis(600);
    // No threshold breaks: every answer that came was quick.
    let load = ramped(engine, server.address(), 1000, RampSteps { every, ..rates(200.0, 200.0, 600.0) });
    let record = run_until(load, std::future::pending(), |phase, tick| {
        if phase == Phase::Measuring && tick.start + tick.length >= every + Duration::from_millis(30) {
            server.handle.stop();
        }
    });
    let [first, second, ..] = &record.steps[..] else { panic!("{} steps", record.steps.len()) };
    assert_eq!(first.broken, None);
    assert!(second.broken.as_ref().unwrap().starts_with("reached only "), "{:?}", second.broken);
}
