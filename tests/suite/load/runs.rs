//! The load generator, against servers that behave and servers that do not, on every engine.

use std::time::Duration;

use resound::{Chargen, CloseReason, Discard, Echo, Engine, Reply};
use resound_load::{Arrivals, Interval, Load, LoadFailure, Mode, RampSteps, RampVariable, Settings, Sizes};

use super::{
    all_is_well, connect, lasting, load, open, ramped, rates, run, run_till, settings, stream, without_an_end,
};
use crate::harness::{PATIENCE, Running, begins, longer, on_each_engine_that_dials, server};

on_each_engine_that_dials! {
    every_size_comes_back_verified,
    replies_are_verified_too,
    many_in_flight_keep_their_order,
    an_open_loop_sends_what_was_planned,
    poisson_arrivals_are_all_sent,
    think_time_is_kept,
    a_refused_server_ends_the_run,
    connections_come_and_go,
    bulk_both_ways_is_verified,
    bulk_one_way,
    a_pattern_is_received_and_verified,
    a_ramp_ends_where_a_threshold_breaks,
    a_ramp_of_connections_goes_up,
    a_run_that_is_cut_short_keeps_its_results,
    both_ends_agree,
}

fn every_size_comes_back_verified(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let weighted = Sizes::Weighted(vec![(1, 5.0), (100, 3.0), (200_000, 0.5)]);
    for size in [Sizes::Fixed(1), Sizes::Fixed(2), Sizes::Fixed(70_000), Sizes::Range(1, 5000), weighted] {
        for lines in [true, false] {
            let settings = Settings { size: size.clone(), messages: Some(100), ..settings(Mode::Echo) };
            all_is_well(&run(Load { lines, ..load(engine, server.address(), settings) }), 100);
        }
    }
}

fn replies_are_verified_too(engine: Engine) {
    let server = Running::start(server(engine), |_| Reply::default());
    for size in [Sizes::Fixed(1), Sizes::Fixed(64), Sizes::Range(1, 60_000)] {
        all_is_well(&run(load(engine, server.address(), Settings { size, ..settings(Mode::Reply) })), 400);
    }
}

fn many_in_flight_keep_their_order(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { depth: 50, messages: Some(10_000), size: Sizes::Range(1, 300), ..settings(Mode::Echo) };
    all_is_well(&run(load(engine, server.address(), settings)), 10_000);
}

fn an_open_loop_sends_what_was_planned(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = lasting(Duration::from_millis(300), open(2000.0, 1000));
    let record = run(load(engine, server.address(), settings));
    all_is_well(&record, 600);
    let total = &record.total;
    assert_eq!((total.counts.planned, total.response.count(), total.lag.count()), (600, 600, 600));
    assert_eq!(record.elapsed, Duration::from_millis(300));
}

fn poisson_arrivals_are_all_sent(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { arrivals: Arrivals::Poisson, ..open(2000.0, 1000) };
    all_is_well(&run(load(engine, server.address(), settings)), 400);
}

fn think_time_is_kept(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { think_time: Duration::from_millis(5), messages: Some(40), ..settings(Mode::Echo) };
    let record = run(load(engine, server.address(), settings));
    all_is_well(&record, 40);
    // Ten messages a connection, with nine pauses between them.
    assert!(record.elapsed >= Duration::from_millis(45), "{:?}", record.elapsed);
}

fn a_refused_server_ends_the_run(engine: Engine) {
    let (_held, gone) = crate::client::connecting::closed_port();
    let record = run(load(engine, gone, settings(Mode::Echo)));
    let counts = &record.total.counts;
    assert!(counts.failed(LoadFailure::Refused) >= 4, "{counts:?}");
    assert_eq!((counts.opened, counts.sent, counts.errors()), (0, 0, counts.failed(LoadFailure::Refused)));
}

fn connections_come_and_go(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { messages: Some(300), ..connect(3) };
    let record = run(load(engine, server.address(), settings));
    all_is_well(&record, 300);
    assert_eq!((record.total.counts.opened, record.total.connect.count()), (100, 100));
    assert_eq!(server.drain().closed(CloseReason::Finished), 100);
}

fn bulk_both_ways_is_verified(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    // A run that ends by itself waits for its answers; one that is cut short may not get them.
    longer(Duration::from_millis(100), |time| {
        let settings = Settings { duration: Some(time), ..stream(Mode::Echo) };
        let record = run(load(engine, server.address(), settings));
        let counts = &record.total.counts;
        assert_eq!(record.failures, []);
        assert_eq!((counts.received, counts.verified), (counts.sent, counts.sent));
        assert_eq!(counts.bytes_received, counts.bytes_sent);
        (counts.sent > 0).then_some(())
    });
}

fn bulk_one_way(engine: Engine) {
    let server = Running::start(server(engine), |_| Discard);
    let mut sent = 0;
    longer(Duration::from_millis(100), |time| {
        let settings = Settings { duration: Some(time), ..stream(Mode::Discard) };
        let record = run(load(engine, server.address(), settings));
        let counts = &record.total.counts;
        assert_eq!((&record.failures[..], counts.received), (&[][..], 0));
        sent += counts.bytes_sent;
        (sent > 0).then_some(())
    });
    let taken = server.drain().bytes_in;
    // What comes first, and TLS, are bytes too.
    assert!(taken == sent || begins().is_some() && taken > sent, "{taken} of {sent}");
}

fn a_pattern_is_received_and_verified(engine: Engine) {
    let server = Running::start(server(engine), |_| Chargen);
    let record = run_till(load(engine, server.address(), stream(Mode::Chargen)), |counts| counts.received > 0);
    let counts = &record.total.counts;
    assert_eq!(record.failures, []);
    assert!(counts.verified > 0 && counts.sent == 0 && counts.verified == counts.received, "{counts:?}");
}

fn a_ramp_ends_where_a_threshold_breaks(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let breaks = |step: &Interval| (step.counts.sent > 25).then(|| format!("{} were sent", step.counts.sent));
    let ramp = ramped(engine, server.address(), 1000, rates(100.0, 100.0, 1000.0));
    let record = run(Load { breaks: Some(Box::new(breaks)), ..ramp });
    let levels: Vec<_> = record.steps.iter().map(|step| (step.level, step.broken.is_some())).collect();
    // How many a step has depends on when it is observed; other tests check that the rate is kept.
    assert!(levels.len() < 10 && levels.iter().filter(|(_, broken)| *broken).count() == 1, "{levels:?}");
    assert!(levels.last().is_some_and(|(_, broken)| *broken));
    assert_eq!(record.failures, []);
}

fn a_ramp_of_connections_goes_up(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    longer(Duration::from_millis(100), |every| {
        let ramp = RampSteps { of: RampVariable::Connections, every, ..rates(2.0, 2.0, 6.0) };
        let record = run(ramped(engine, server.address(), 1, ramp));
        assert_eq!(record.steps.iter().map(|step| step.level).collect::<Vec<_>>(), [2.0, 4.0, 6.0]);
        let counts = &record.total.counts;
        assert_eq!((counts.opened, &record.failures[..]), (counts.closed, &[][..]), "{counts:?}");
        assert!(counts.opened <= 6, "{counts:?}");
        // The last two are dialled when the last step begins.
        (counts.opened == 6).then_some(())
    });
}

fn a_run_that_is_cut_short_keeps_its_results(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = without_an_end(settings(Mode::Echo));
    let record = run_till(load(engine, server.address(), settings), |counts| counts.received > 100);
    let counts = &record.total.counts;
    assert!(record.cut_short && counts.received > 100 && counts.received == counts.sent, "{counts:?}");
    assert_eq!(record.failures, []);
    assert!(record.elapsed < PATIENCE);
}

fn both_ends_agree(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings =
        Settings { connections: 50, messages: Some(5000), size: Sizes::Range(1, 2000), ..settings(Mode::Echo) };
    let record = run(load(engine, server.address(), settings));
    all_is_well(&record, 5000);
    let (ours, theirs) = (&record.total.counts, server.drain());
    assert_eq!((ours.opened, ours.closed), (50, 50));
    assert_eq!(theirs.opened, 50);
    if begins().is_none() {
        assert_eq!((theirs.bytes_in, theirs.bytes_out), (ours.bytes_sent, ours.bytes_received));
    }
    assert_eq!(theirs.closed(CloseReason::Finished), 50);
}
