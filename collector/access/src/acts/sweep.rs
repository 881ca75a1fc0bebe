//! What is over goes: by the writer's minute, so that no table fills with the dead.

use crate::access::Work;
use crate::answer::{Answer, Granted};
use crate::limits::API_TOKEN_SHOWN;
use crate::view::session_end;

impl Work<'_> {
    pub(crate) fn sweep(&mut self) -> Answer {
        let at = self.at;
        self.tables.sessions.remove_if(|_, row| at >= session_end(row));
        self.tables.login_links.remove_if(|_, row| at >= row.expires);
        self.tables.api_tokens.remove_if(|_, row| at >= row.expires + API_TOKEN_SHOWN);
        self.sweep_join_tokens();
        self.sweep_pending();
        self.sweep_keys();
        Ok(Granted::Nothing)
    }
}
