//! Texts of labels, each held once and only as long as a series uses it.

use std::collections::HashMap;
use std::sync::Arc;

/// A text's number, given again once nobody uses it.
pub(super) type Symbol = u32;

#[derive(Debug)]
struct Held {
    text: Arc<str>,
    n_uses: u32,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    held: Vec<Option<Held>>,
    free: Vec<Symbol>,
    by_text: HashMap<Arc<str>, Symbol>,
    n_text_bytes: u64,
}

impl Symbols {
    pub(super) fn get(&self, text: &str) -> Option<Symbol> {
        self.by_text.get(text).copied()
    }

    /// The text of a symbol in use.
    pub(super) fn text(&self, symbol: Symbol) -> &Arc<str> {
        let held = self.held.get(symbol as usize).and_then(Option::as_ref);
        &held.expect("a series that uses a symbol keeps it").text
    }

    /// One more use of this text; [`Symbols::release`] ends it.
    pub(super) fn take(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.get(text) {
            if let Some(held) = &mut self.held[symbol as usize] {
                held.n_uses += 1;
            }
            return symbol;
        }
        let symbol = self.free.pop().unwrap_or_else(|| {
            self.held.push(None);
            Symbol::try_from(self.held.len() - 1).expect("label parts of series in memory are fewer than 2^32")
        });
        let text: Arc<str> = Arc::from(text);
        self.n_text_bytes += text.len() as u64;
        self.by_text.insert(Arc::clone(&text), symbol);
        self.held[symbol as usize] = Some(Held { text, n_uses: 1 });
        symbol
    }

    /// One use is over; the last one frees the text.
    pub(super) fn release(&mut self, symbol: Symbol) {
        let Some(place) = self.held.get_mut(symbol as usize) else { return };
        let Some(held) = place else { return };
        held.n_uses -= 1;
        if held.n_uses == 0 {
            self.n_text_bytes -= held.text.len() as u64;
            self.by_text.remove(&held.text);
            *place = None;
            self.free.push(symbol);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Memory in use, estimated: text with two counts and the allocator's own, its
    /// place, its entry in the map, which is half empty at worst.
    pub(super) fn memory_bytes(&self) -> u64 {
        const TEXT: u64 = 16 + 16;
        let held = self.held.capacity() * size_of::<Option<Held>>() + self.free.capacity() * size_of::<Symbol>();
        let map = self.by_text.capacity() * (size_of::<(Arc<str>, Symbol)>() + 1);
        self.n_text_bytes + self.len() as u64 * TEXT + (held + map) as u64
    }
}
