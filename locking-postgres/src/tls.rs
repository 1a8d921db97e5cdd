use std::path::Path;
use std::sync::Arc;

use locking_core::ConfigurationError;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::options::{TlsMode, TlsOptions};
use crate::verification::Nameless;

pub(crate) type Rustls = MakeRustlsConnect;

/// Whom the client believes, and who it says it is.
pub(crate) fn rustls(options: &TlsOptions) -> Result<Rustls, ConfigurationError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| problem("mode", error))?;
    let builder = match verifier(options, provider)? {
        Some(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
        None => builder.with_root_certificates(authorities(options)?),
    };
    let config = match (&options.certificate_file, &options.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "certificate_file")?;
            let key =
                PrivateKeyDer::from_pem_file(key).map_err(|error| problem("key_file", error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| problem("certificate_file", error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

/// What asks less of a certificate than the rule does, which is everything.
fn verifier(
    options: &TlsOptions,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ServerCertVerifier>>, ConfigurationError> {
    let nameless = match (options.mode(), &options.ca_file) {
        (TlsMode::VerifyFull, _) => return Ok(None),
        (TlsMode::VerifyCa, _) | (TlsMode::Require, Some(_)) => {
            Nameless::of(authorities(options)?, provider)
        }
        _ => Nameless::of_anyone(provider),
    };
    Ok(Some(Arc::new(nameless)))
}

fn authorities(options: &TlsOptions) -> Result<RootCertStore, ConfigurationError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &options.ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(problem("ca_file", "the platform has no certificates; name a file"));
        }
        return Ok(roots);
    };
    for certificate in certificates(file, "ca_file")? {
        roots.add(certificate).map_err(|error| problem("ca_file", error))?;
    }
    Ok(roots)
}

fn certificates(
    file: &Path,
    option: &str,
) -> Result<Vec<CertificateDer<'static>>, ConfigurationError> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| problem(option, error))?;
    if read.is_empty() {
        return Err(problem(option, "there is no certificate in the file"));
    }
    Ok(read)
}

fn problem(option: &str, problem: impl std::fmt::Display) -> ConfigurationError {
    ConfigurationError::option(format!("tls.{option}"), problem.to_string())
}
