//! Service times by the kernel's clock.

use resound::load::{Mode, Settings, Sizes, Timestamps};
use resound::{Echo, Engine};

use crate::harness::{Running, on_each_engine_plainly, server};
use crate::load::{all_is_well, load, run, settings};

on_each_engine_plainly! {
    service_times_are_the_kernels_where_it_has_them,
}

fn service_times_are_the_kernels_where_it_has_them(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let can = cfg!(target_os = "linux") && engine != Engine::Portable;
    // Large answers are read in several parts, small ones with others; none of that loses a time. (Many large ones at once might: the kernel has
    // room for times where it has room for input.)
    for (size, depth, messages) in [(Sizes::Range(1, 300), 20, 2000), (Sizes::Fixed(70_000), 1, 100)] {
        let settings =
            Settings { size, depth, messages: Some(messages), timestamps: Timestamps::Kernel, ..settings(Mode::Echo) };
        let record = run(load(engine, server.address(), settings));
        all_is_well(&record, messages);
        assert_eq!(record.total.counts.by_kernel, if can { messages } else { 0 });
        let warning = format!("{messages} of {messages} service times are not the kernel's");
        assert_eq!(record.warnings.iter().any(|told| told.starts_with(&warning)), !can, "{:?}", record.warnings);
    }
}
