use locking_core::{FencingToken, HoldKind, OwnerId};

/// A lock's value on the server, as the script writes it: `lk1|<token>|<kind>|<request>|<owner>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held<'a> {
    pub(crate) token: FencingToken,
    pub(crate) kind: HoldKind,
    pub(crate) request: &'a str,
    owner: &'a str,
}

impl<'a> Held<'a> {
    /// The hold that a value says. What isn't ours is a lease of whoever wrote it, without a token: the
    /// original module writes the owner, or `*`. `None` for a key that is only kept for a moment.
    pub(crate) fn read(value: &'a str) -> Option<Self> {
        Self::ours(value).unwrap_or(Some(Self {
            token: FencingToken::new(0),
            kind: HoldKind::Lease,
            request: "",
            owner: value,
        }))
    }

    fn ours(value: &'a str) -> Option<Option<Self>> {
        let mut parts = value.strip_prefix("lk1|")?.splitn(4, '|');
        let token = FencingToken::new(parts.next()?.parse().ok()?);
        let kind = match parts.next()? {
            "o" | "a" => HoldKind::Lease,
            "g" => HoldKind::Guard,
            "r" => return Some(None),
            _ => return None,
        };
        Some(Some(Self { token, kind, request: parts.next()?, owner: parts.next()? }))
    }

    /// Who holds it; nobody in particular for an anonymous lease.
    pub(crate) fn owner(&self) -> Option<OwnerId> {
        OwnerId::new(self.owner).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_ours_is_read_whatever_its_owner_is_called() {
        let held = Held::read("lk1|0000000000000007|o|client0000000000a|a|b").expect("a hold");
        assert_eq!((held.token.get(), held.kind), (7, HoldKind::Lease));
        assert_eq!(held.request, "client0000000000a");
        assert_eq!(held.owner().expect("owned").as_str(), "a|b");
    }

    #[test]
    fn a_value_of_the_original_module_is_its_owners_lease() {
        assert_eq!(
            Held::read("user_1").expect("a hold").owner().expect("owned").as_str(),
            "user_1"
        );
        assert_eq!(Held::read("*").expect("a hold").owner(), None);
    }

    #[test]
    fn a_key_that_is_kept_for_a_moment_is_no_hold() {
        assert_eq!(Held::read("lk1|0000000000000000|r|client0000000000a|"), None);
    }
}
