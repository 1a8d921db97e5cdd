use std::path::Path;
use std::sync::Arc;

use fred::types::config::{TlsConfig, TlsConnector};
use locking_core::ConfigurationError;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::options::TlsOptions;

/// Whom the client believes, and who it says it is.
pub(crate) fn config(options: &TlsOptions) -> Result<TlsConfig, ConfigurationError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| problem("tls", error))?
        .with_root_certificates(authorities(options)?);
    let config = match (&options.certificate_file, &options.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "tls.certificate_file")?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| problem("tls.key_file", error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| problem("tls.certificate_file", error))?
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => {
            return Err(problem("tls.key_file", "it is missing beside `certificate_file`"));
        }
        (None, Some(_)) => {
            return Err(problem("tls.certificate_file", "it is missing beside `key_file`"));
        }
    };
    Ok(TlsConnector::from(config).into())
}

fn authorities(options: &TlsOptions) -> Result<RootCertStore, ConfigurationError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &options.ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(problem("tls.ca_file", "the platform has no certificates; name a file"));
        }
        return Ok(roots);
    };
    for certificate in certificates(file, "tls.ca_file")? {
        roots.add(certificate).map_err(|error| problem("tls.ca_file", error))?;
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
    ConfigurationError::option(format!("redis_options.{option}"), problem.to_string())
}
