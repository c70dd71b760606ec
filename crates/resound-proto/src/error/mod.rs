//! Why a connection ended: [`CloseReason`], and the causes that some of its values carry.

mod close;
mod proxy;
mod refusal;
mod tls;

pub use close::CloseReason;
pub use proxy::ProxyError;
pub use refusal::Refusal;
pub use tls::{CertificateFlaw, TlsFailure};
