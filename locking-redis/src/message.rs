/// Texts in `MessagePack`, which the script takes apart faster than the server takes in as many arguments.
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn text(&mut self, text: &str) {
        match text.len() {
            length @ ..32 => self.0.push(0xa0 | length as u8),
            length => self.sized(0xd9, length),
        }
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn number(&mut self, number: usize) {
        match number {
            ..128 => self.0.push(number as u8),
            _ => self.sized(0xcc, number),
        }
    }

    /// A list of so many elements, which follow.
    pub(crate) fn list(&mut self, length: usize) {
        match length {
            ..16 => self.0.push(0x90 | length as u8),
            // There is no form with one byte.
            _ => self.wide(0xdc, length),
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The mark for a size of one byte, which the marks for two and four bytes follow; and the size.
    fn sized(&mut self, mark: u8, size: usize) {
        match u8::try_from(size) {
            Ok(size) => self.0.extend([mark, size]),
            Err(_) => self.wide(mark + 1, size),
        }
    }

    fn wide(&mut self, mark: u8, size: usize) {
        match u16::try_from(size) {
            Ok(size) => {
                self.0.push(mark);
                self.0.extend(size.to_be_bytes());
            }
            Err(_) => {
                self.0.push(mark + 1);
                // Nothing that goes in one call is longer: the server takes 512 MiB.
                self.0.extend(u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(write: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::with_capacity(0);
        write(&mut message);
        message.into_bytes()
    }

    #[test]
    fn sizes_take_the_form_that_holds_them() {
        let text = |length| message(|it| it.text(&"x".repeat(length)));
        assert_eq!(text(31)[..2], [0xbf, b'x']);
        assert_eq!(text(32)[..3], [0xd9, 32, b'x']);
        assert_eq!(text(256)[..4], [0xda, 1, 0, b'x']);
        assert_eq!(text(65_536)[..6], [0xdb, 0, 1, 0, 0, b'x']);
        let number = |number| message(|it| it.number(number));
        assert_eq!(number(127), [127]);
        assert_eq!(number(128), [0xcc, 128]);
        assert_eq!(number(256), [0xcd, 1, 0]);
        assert_eq!(number(65_536), [0xce, 0, 1, 0, 0]);
        let list = |length| message(|it| it.list(length));
        assert_eq!(list(15), [0x9f]);
        assert_eq!(list(16), [0xdc, 0, 16]);
        assert_eq!(list(65_536), [0xdd, 0, 1, 0, 0]);
    }
}
