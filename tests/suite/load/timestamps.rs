//! Service times by the kernel's clock.

use std::time::Duration;

use resound::{Echo, Engine};
use resound_load::{Mode, Settings, Sizes, Timestamps};

use super::{all_is_well, load, run, run_until, settings, without_an_end};
use crate::harness::{PATIENCE, Running, on_each_engine_plainly, server};
use crate::not_tested::not_tested;

on_each_engine_plainly! {
    service_times_are_the_kernels_where_it_has_them,
}

/// Linux 6.3 and later.
fn the_kernel_can() -> bool {
    #[cfg(target_os = "linux")]
    {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(6), Some(3))
    }
    #[cfg(not(target_os = "linux"))]
    false
}

fn service_times_are_the_kernels_where_it_has_them(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    if engine != Engine::Portable && !the_kernel_can() {
        return not_tested("kernel timestamps", "Linux 6.3 has them");
    }
    if engine == Engine::Portable {
        return times_are_taken(engine, &server, false);
    }
    // The kernel begins to note times when it finds the time, and ends with the last connection
    // that wants them: this one does, until the others are through.
    let (cut, is_cut) = tokio::sync::oneshot::channel::<()>();
    let (tell, has_begun) = std::sync::mpsc::channel();
    let think_time = Duration::from_millis(1);
    let one = Settings { connections: 1, timestamps: Timestamps::Kernel, think_time, ..settings(Mode::Echo) };
    let first = load(engine, server.address(), without_an_end(one));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run_until(first, async { drop(is_cut.await) }, |_, tick| {
                if tick.counts.by_kernel > 0 {
                    let _ = tell.send(());
                }
            })
        });
        has_begun.recv_timeout(PATIENCE).unwrap();
        times_are_taken(engine, &server, true);
        drop(cut);
    });
}

fn times_are_taken(engine: Engine, server: &Running, can: bool) {
    // Large answers are read in several parts, small ones with others; none of that loses a time.
    // (Many large ones at once might: the kernel has room for times where it has room for input.)
    for (size, depth, messages) in [(Sizes::Range(1, 300), 20, 2000), (Sizes::Fixed(70_000), 1, 100)] {
        let settings =
            Settings { size, depth, messages: Some(messages), timestamps: Timestamps::Kernel, ..settings(Mode::Echo) };
        let record = run(load(engine, server.address(), settings));
        all_is_well(&record, messages);
        let (source, by_kernel) = if can { (Timestamps::Kernel, messages) } else { (Timestamps::Clock, 0) };
        assert_eq!((record.settings.timestamps, record.total.counts.by_kernel), (source, by_kernel));
        let told = record.warnings.iter().any(|told| told.contains("are not the kernel's"));
        assert!(!told, "{:?}", record.warnings);
    }
}
