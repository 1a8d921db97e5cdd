use std::ops::Deref;
use std::sync::Arc;

/// A sequence that is usually of one, which then needs no allocation. Clones share what there is of several.
///
/// Not a general small vector: those keep their parts out of line, and this is on the path of every
/// call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Arc<[T]>),
}

impl<T> From<Vec<T>> for OneOrMany<T> {
    fn from(mut many: Vec<T>) -> Self {
        match many.pop() {
            Some(only) if many.is_empty() => Self::One(only),
            last => {
                many.extend(last);
                Self::Many(many.into())
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
