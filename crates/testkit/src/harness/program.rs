//! Bytes read as a program: what the harnesses that run sequences of actions have in common.

/// The program, read from the front. It ends when its bytes do.
pub(super) struct Program<'a>(pub(super) &'a [u8]);

impl Program<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn pick(&mut self, count: usize) -> Option<usize> {
        self.byte().map(|byte| usize::from(byte) % count.max(1))
    }

    pub(super) fn of<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        let index = self.pick(choices.len())?;
        choices.get(index).cloned()
    }

    /// That many bytes, or what is left.
    pub(super) fn bytes(&mut self, count: usize) -> &[u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}
