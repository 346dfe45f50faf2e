//! Frames in and out, a batch at a time.

use arrayvec::ArrayVec;

use crate::frame::Frame;
use crate::pool::Pool;
use crate::verdict::Verdict;

/// The most frames that one call takes or gives.
pub const BATCH: usize = 64;

/// Frames on their way out of the engine, in order. The link owns them and must release each.
pub type TxBatch = ArrayVec<Frame, BATCH>;

/// Frames on their way into the engine, and afterwards the verdict for each, in the same order.
///
/// A link fills it with [`push`](Self::push), hands it to
/// [`Engine::ingress`](crate::Engine::ingress), which takes the frames and leaves the verdicts, and
/// uses it again: the next `push` forgets the verdicts.
#[derive(Debug, Default)]
pub struct RxBatch {
    pub(crate) frames: ArrayVec<Frame, BATCH>,
    pub(crate) verdicts: ArrayVec<Verdict, BATCH>,
}

impl RxBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a frame, as [`Pool::copy_in`] or [`Pool::fill`] made it, or as an engine gave it out and
    /// [`Pool::header_mut`] changed it. One whose bytes are shared with other ports' frames must not
    /// carry a VLAN tag, or it is refused ([`Reason::BadFraming`](crate::Reason::BadFraming)).
    ///
    /// # Errors
    ///
    /// Gives the frame back when the batch already holds [`BATCH`] of them.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        self.verdicts.clear();
        self.frames.try_push(frame).map_err(arrayvec::CapacityError::element)
    }

    /// The frames that wait in the batch, in order.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> + '_ {
        self.frames.iter()
    }

    /// How many frames wait in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no frame waits in the batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether the batch takes no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.frames.is_full()
    }

    /// The verdicts of the last ingress, in the order of the frames.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Releases the frames that no engine took.
    pub fn clear(&mut self, pool: &mut Pool) {
        for frame in self.frames.drain(..) {
            pool.release(frame);
        }
        self.verdicts.clear();
    }
}

/// How much one call of [`Engine::poll_transmit`](crate::Engine::poll_transmit) may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Frames at most (and never more than the batch has room for).
    pub frames: usize,
    /// Bytes at most; the frame that crosses the limit is still given, so that one always fits.
    pub bytes: usize,
}

impl Budget {
    /// As much as fits the batch.
    pub const FULL: Self = Self { frames: BATCH, bytes: usize::MAX };
}

impl Default for Budget {
    fn default() -> Self {
        Self::FULL
    }
}
