//! One suite for {threads, portable, io_uring} x {plain, TLS} x {no PROXY header, a PROXY header}.

/// Each function named becomes one test per engine, without and with TLS, and behind a PROXY
/// header; and on the io_uring engine one per kind of kernel. Each engine meets one version of the
/// header in plain text or under TLS, and not each combination: the versions differ in a parser
/// that has its own tests.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        crate::harness::on_each_engine_plainly!($($test),*);
        mod threads_tls {
            $(#[test] fn $test() { crate::harness::with_tls(|| super::$test(resound::Engine::Threads)); })*
        }
        mod portable_tls {
            $(#[test] fn $test() { crate::harness::with_tls(|| super::$test(resound::Engine::Portable)); })*
        }
        #[cfg(target_os = "linux")]
        mod uring_tls {
            use crate::harness::{NO_FAULTS, on_uring, with_tls};
            $(#[test] fn $test() { with_tls(|| on_uring(NO_FAULTS, super::$test)); })*
        }
        #[cfg(target_os = "linux")]
        mod uring_tls_with_faults {
            use crate::harness::{FAULTY, on_uring, with_tls};
            $(#[test] fn $test() { with_tls(|| on_uring(FAULTY, super::$test)); })*
        }
        mod portable_through_a_relay {
            use crate::harness::relayed;
            $(#[test] fn $test() { relayed(super::$test, resound::Engine::Portable); })*
        }
        #[cfg(target_os = "linux")]
        mod uring_through_a_relay {
            use crate::harness::{NO_FAULTS, on_uring, relayed};
            $(#[test] fn $test() { on_uring(NO_FAULTS, |engine| relayed(super::$test, engine)); })*
        }
        mod threads_behind_proxy_v1 {
            use crate::harness::proxied;
            $(#[test] fn $test() {
                proxied(resound::proxy::Version::V1, || super::$test(resound::Engine::Threads));
            })*
        }
        mod portable_behind_proxy_v2_tls {
            use crate::harness::{proxied, with_tls};
            $(#[test] fn $test() {
                proxied(resound::proxy::Version::V2, || with_tls(|| super::$test(resound::Engine::Portable)));
            })*
        }
        #[cfg(target_os = "linux")]
        mod uring_behind_proxy_v2 {
            use crate::harness::{NO_FAULTS, on_uring, proxied};
            $(#[test] fn $test() {
                proxied(resound::proxy::Version::V2, || on_uring(NO_FAULTS, super::$test));
            })*
        }
        #[cfg(target_os = "linux")]
        mod uring_behind_proxy_v1_tls {
            use crate::harness::{NO_FAULTS, on_uring, proxied, with_tls};
            $(#[test] fn $test() {
                proxied(resound::proxy::Version::V1, || with_tls(|| on_uring(NO_FAULTS, super::$test)));
            })*
        }
    };
}
pub(crate) use on_each_engine;

/// The same for what needs two connections on one thread, such as a relay.
macro_rules! on_each_engine_with_workers {
    ($($test:ident),* $(,)?) => {
        mod portable {
            $(#[test] fn $test() { super::$test(resound::Engine::Portable); })*
        }
        #[cfg(target_os = "linux")]
        mod uring {
            $(#[test] fn $test() { crate::harness::on_uring(crate::harness::NO_FAULTS, super::$test); })*
        }
        #[cfg(target_os = "linux")]
        mod uring_of_an_old_kernel {
            $(#[test] fn $test() { crate::harness::on_uring(crate::harness::OLD_KERNEL, super::$test); })*
        }
        #[cfg(target_os = "linux")]
        mod uring_with_faults {
            $(#[test] fn $test() { crate::harness::on_uring(crate::harness::FAULTY, super::$test); })*
        }
    };
}
pub(crate) use on_each_engine_with_workers;

/// The same for tests of the transport itself, which see what TLS would hide.
macro_rules! on_each_engine_plainly {
    ($($test:ident),* $(,)?) => {
        mod threads {
            $(#[test] fn $test() { super::$test(resound::Engine::Threads); })*
        }
        crate::harness::on_each_engine_with_workers!($($test),*);
    };
}
pub(crate) use on_each_engine_plainly;

/// The same for tests of what engines only carry: each of them once.
macro_rules! on_each_engine_once {
    ($($test:ident),* $(,)?) => {
        mod threads {
            $(#[test] fn $test() { super::$test(resound::Engine::Threads); })*
        }
        mod portable {
            $(#[test] fn $test() { super::$test(resound::Engine::Portable); })*
        }
        #[cfg(target_os = "linux")]
        mod uring {
            $(#[test] fn $test() { crate::harness::on_uring(crate::harness::NO_FAULTS, super::$test); })*
        }
    };
}
pub(crate) use on_each_engine_once;

/// The same for connections that are dialled from here: in plain, and with all that may come first.
macro_rules! on_each_engine_that_dials {
    ($($test:ident),* $(,)?) => {
        crate::harness::on_each_engine_plainly!($($test),*);
        mod threads_tls {
            $(#[test] fn $test() { crate::harness::with_tls(|| super::$test(resound::Engine::Threads)); })*
        }
        mod portable_behind_proxy_v1_tls {
            use crate::harness::{proxied, with_tls};
            $(#[test] fn $test() {
                proxied(resound::proxy::Version::V1, || with_tls(|| super::$test(resound::Engine::Portable)));
            })*
        }
        #[cfg(target_os = "linux")]
        mod uring_behind_proxy_v2 {
            use crate::harness::{NO_FAULTS, on_uring, proxied};
            $(#[test] fn $test() {
                proxied(resound::proxy::Version::V2, || on_uring(NO_FAULTS, super::$test));
            })*
        }
        #[cfg(target_os = "linux")]
        mod uring_tls_with_faults {
            use crate::harness::{on_uring, with_tls};
            $(#[test] fn $test() { with_tls(|| on_uring(crate::harness::FAULTY, super::$test)); })*
        }
    };
}
pub(crate) use on_each_engine_that_dials;
