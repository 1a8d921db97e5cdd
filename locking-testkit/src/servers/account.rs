/// Where systems list their accounts.
const ACCOUNTS: &str = "/etc/passwd";

/// The accounts under which servers run that refuse to be run by root: the first that is there.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// An account of this system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Account {
    /// The account that a server has to be run by; `None`: that of this process will do.
    pub(super) fn unprivileged() -> Result<Option<Self>, String> {
        if own() != 0 {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string(ACCOUNTS);
        let accounts = accounts.map_err(|error| format!("{ACCOUNTS}: {error}"))?;
        let found = UNPRIVILEGED.iter().find_map(|name| Self::named(name, &accounts));
        found.map(Some).ok_or_else(|| {
            format!(
                "it refuses to be run by root, and there is no account `{}`",
                UNPRIVILEGED.join("` or `")
            )
        })
    }

    /// The number of the user that this account is, or of this process's.
    pub(super) fn runs_by(account: Option<Self>) -> u32 {
        account.map_or_else(own, |account| account.user)
    }

    fn named(name: &str, accounts: &str) -> Option<Self> {
        // NAME:PASSWORD:USER:GROUP:...
        let mut fields = accounts.lines().map(|line| line.split(':'));
        let mut fields = fields.find_map(|mut line| (line.next()? == name).then_some(line))?;
        let user = fields.nth(1)?.parse().ok()?;
        Some(Self { user, group: fields.next()?.parse().ok()? })
    }
}

#[cfg(unix)]
fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Elsewhere nobody is root.
#[cfg(not(unix))]
fn own() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nnobody2:x:1:2::/:\nnobody:x:65534:7::/:\n";
        let found = Account::named("nobody", accounts).expect("it is there");
        assert_eq!((found.user, found.group), (65534, 7));
        assert!(Account::named("postgres", accounts).is_none());
    }
}
