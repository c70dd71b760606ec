//! Why a connection ended: [`CloseReason`], and what stands behind some of its values.

mod close;
mod proxy;
mod refusal;
mod tls;

pub use close::CloseReason;
pub use proxy::ProxyError;
pub use refusal::Refusal;
pub use tls::{CertificateFlaw, TlsFailure};
