use std::path::PathBuf;

use locking_core::ConfigurationError;
use serde::Deserialize;

/// Whether connections are encrypted, whose certificates are believed, and who the client says it is.
/// Files are PEM. Where the URL has `sslmode`, `sslrootcert`, `sslcert` or `sslkey`, they are what is
/// set here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Whether connections are encrypted, and what is asked of the server's certificate. Default:
    /// [`TlsMode::Prefer`].
    pub mode: Option<TlsMode>,
    /// The authorities that may sign the server's certificate. Default: those of the platform. As with
    /// libpq, [`TlsMode::Require`] verifies like [`TlsMode::VerifyCa`] where there is such a file.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, where the server asks for one; with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key_file: Option<PathBuf>,
}

/// Whether a connection is encrypted, and what is asked of the server's certificate. The names and
/// meanings are those of libpq's `sslmode`. All but the last two protect against who listens, not
/// against who stands between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TlsMode {
    /// Nothing is encrypted.
    Disable,
    /// Encrypted if the server does that, and else not. Nothing is asked of its certificate. Where the
    /// server does it and it fails, that is an error, while libpq would go on without.
    Prefer,
    /// Encrypted or not at all. Nothing is asked of the server's certificate.
    Require,
    /// Encrypted, with a certificate that an authority signed, for whatever name.
    VerifyCa,
    /// Encrypted, with a certificate that an authority signed for the host's name.
    VerifyFull,
}

/// What libpq calls them in a URL, and what they are called here.
pub(super) const IN_URL: [(&str, &str); 4] = [
    ("sslmode", "mode"),
    ("sslrootcert", "ca_file"),
    ("sslcert", "certificate_file"),
    ("sslkey", "key_file"),
];

impl TlsOptions {
    pub(crate) fn mode(&self) -> TlsMode {
        self.mode.unwrap_or(TlsMode::Prefer)
    }

    /// Sets what a URL says.
    pub(super) fn set(&mut self, parameter: &str, value: &str) -> Result<(), &'static str> {
        match parameter {
            "sslmode" => self.mode = Some(TlsMode::of(value)?),
            // libpq's word for the platform's authorities; weaker than this it doesn't allow there.
            "sslrootcert" if value == "system" => {
                match self.mode.get_or_insert(TlsMode::VerifyFull) {
                    TlsMode::VerifyFull => {}
                    _ => return Err("`sslrootcert=system` goes with `sslmode=verify-full` alone"),
                }
            }
            "sslrootcert" => self.ca_file = Some(value.into()),
            "sslcert" => self.certificate_file = Some(value.into()),
            "sslkey" => self.key_file = Some(value.into()),
            _ => {}
        }
        Ok(())
    }

    /// Both together: what is written in the one and what the URL says.
    pub(super) fn and(self, url: Self) -> Result<Self, ConfigurationError> {
        let both = [
            self.mode.is_some() && url.mode.is_some(),
            self.ca_file.is_some() && url.ca_file.is_some(),
            self.certificate_file.is_some() && url.certificate_file.is_some(),
            self.key_file.is_some() && url.key_file.is_some(),
        ];
        if let Some((_, (parameter, option))) = both.iter().zip(IN_URL).find(|(both, _)| **both) {
            let problem = format!("the URL says it too, as `{parameter}`; write it once");
            return Err(ConfigurationError::option(format!("tls.{option}"), problem));
        }
        Ok(Self {
            mode: self.mode.or(url.mode),
            ca_file: self.ca_file.or(url.ca_file),
            certificate_file: self.certificate_file.or(url.certificate_file),
            key_file: self.key_file.or(url.key_file),
        })
    }

    /// What goes together.
    pub(super) fn check(&self) -> Result<(), ConfigurationError> {
        let refuse = |option: &str, problem: &str| Err(ConfigurationError::option(option, problem));
        let mode = self.mode();
        if mode > TlsMode::Prefer && !cfg!(feature = "tls") {
            return refuse("tls.mode", "it needs the Cargo feature `tls` of `locking-postgres`");
        }
        if self.ca_file.is_some() && mode < TlsMode::Require {
            return refuse(
                "tls.ca_file",
                "it is read only to verify: set `tls.mode` to `verify-full`, or to `verify-ca`",
            );
        }
        match (&self.certificate_file, &self.key_file) {
            (Some(_), None) => refuse("tls.key_file", "it is missing beside `certificate_file`"),
            (None, Some(_)) => refuse("tls.certificate_file", "it is missing beside `key_file`"),
            _ => Ok(()),
        }
    }
}

impl TlsMode {
    fn of(text: &str) -> Result<Self, &'static str> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(
                "its `sslmode` is none of `disable`, `prefer`, `require`, `verify-ca` and `verify-full`",
            ),
        }
    }
}
