use std::ops::Deref;

/// A sequence that is usually of one, which then needs no allocation.
///
/// Not a general small vector: those keep their parts out of line, and this is on the path of every
/// call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> From<Vec<T>> for OneOrMany<T> {
    fn from(mut many: Vec<T>) -> Self {
        match many.pop() {
            Some(only) if many.is_empty() => Self::One(only),
            last => {
                many.extend(last);
                Self::Many(many)
            }
        }
    }
}

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}
