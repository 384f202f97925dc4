//! Answers peers' requests at once, from the present state and within bounds. Only a newcomer's
//! first request waits for the next commit.

use counter_core::{Cursor, Delta, Replica, ReplicaId};
use serde_bytes::ByteBuf;

use super::commits::DeferredRequest;
use crate::protocol::input::NodeId;
use crate::protocol::output::Refusal;
use crate::protocol::replicator::Replicator;
use crate::protocol::stats::Kind;
use crate::protocol::wire::DigestPiece;
use crate::protocol::wire::{self, Hash, pack_vector, unpack_vector};
use crate::protocol::wire::{
    Ask, Compare, PageMessage, PullPage, Request, Response, StateMessage, Tell,
};

/// The longest first delta of a requester, in bytes. It holds one record.
const BIRTH_BYTES_MAX: usize = 16 * 1024;

/// The outcome of a request that is not refused.
enum Served {
    Now(Box<Response>),
    /// The request waits until the record of this replica, which sent it, is on disk.
    Deferred(ReplicaId),
}

impl From<Response> for Served {
    fn from(response: Response) -> Self {
        Self::Now(Box::new(response))
    }
}

impl Replicator {
    pub(crate) fn on_request(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        id: u64,
        payload: &[u8],
    ) {
        let request = wire::decode(payload, usize::MAX);
        self.ctx.out.count_in(request.as_ref().map_or(Kind::Other, kind_of), payload.len());
        self.answer(replica, peer, id, payload, request);
    }

    /// Answers a request now, or once this node's disk names its sender.
    pub(crate) fn answer(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        id: u64,
        payload: &[u8],
        request: Result<Request, Refusal>,
    ) {
        let kind = request.as_ref().map_or(Kind::Other, kind_of);
        let served = request.and_then(|request| self.serve(replica, peer, request));
        let answered = match served {
            Ok(Served::Now(response)) => Ok(*response),
            Ok(Served::Deferred(requester)) if self.commits.defer(peer, id, payload, requester) => {
                return;
            }
            Ok(Served::Deferred(_)) => Err(Refusal::NotRecorded),
            Err(reason) => Err(reason),
        };
        let response = answered.unwrap_or_else(|reason| {
            self.ctx.out.refuse(peer, reason);
            Response::refused(reason)
        });
        let response = Response { incarnation: Some(self.ctx.own.incarnation), ..response };
        self.ctx.out.respond(peer, id, kind, &response);
        if !matches!(kind, Kind::Compare | Kind::Confirm) {
            // The request may show that this node lacks something. The answer goes first.
            self.plan(replica);
        }
    }

    fn serve(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        request: Request,
    ) -> Result<Served, Refusal> {
        if let Some(ask) = &request.number {
            return self.serve_number(replica, peer, ask).map(Served::from);
        }
        if self.numbering.is_open() {
            let wants_state = request.ask.is_some() || request.compare.is_some();
            return if wants_state {
                Ok(self.unnumbered().into())
            } else {
                Err(Refusal::NotRecorded)
            };
        }
        match request {
            Request { compare: Some(compare), .. } => {
                Ok(self.serve_compare(replica, peer, &compare))
            }
            Request { ask: Some(ask), .. } => return self.serve_ask(replica, peer, &ask),
            Request { pull: Some(pull), .. } => return self.serve_pull(replica, peer, &pull),
            Request { tell: Some(tell), .. } => self.serve_tell(replica, peer, &tell),
            Request { ack: Some(ack), .. } => self.serve_ack(replica, peer, &ack),
            Request { confirm: Some(confirm), .. } => self.serve_confirm(replica, peer, &confirm),
            Request { digest: Some(digest), .. } => self.serve_digest(replica, peer, &digest),
            // A later release may add a kind without raising the version.
            _ => Err(Refusal::UnknownVersion),
        }
        .map(Served::from)
    }

    /// Answers the requests whose senders' records have reached the disk.
    pub(crate) fn serve_deferred(&mut self, replica: &mut Replica) {
        for DeferredRequest { peer, id, payload, .. } in self.commits.take_kept(replica.map()) {
            self.answer(replica, peer, id, &payload, wire::decode(&payload, usize::MAX));
        }
    }

    /// Refuses the deferred requests of a peer that is gone, so that the driver keeps none of them.
    pub(super) fn refuse_deferred(&mut self, peer: NodeId) {
        for DeferredRequest { id, .. } in self.commits.take_of(peer) {
            self.ctx.out.respond(peer, id, Kind::Other, &Response::refused(Refusal::NotRecorded));
        }
    }

    fn serve_compare(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        compare: &Compare,
    ) -> Response {
        let seen = replica.map().version_vector();
        let state = Hash(replica.state_hash().0);
        let equal = Hash(seen.digest_hash()) == compare.seen;
        let announcements_differ =
            compare.stale || Hash(self.members.hash()) != compare.announcements;
        if equal && state != compare.state {
            self.diverged(peer);
        }
        let behind = self.not_promised(&seen);
        // One message names at most this many writers that are behind.
        let is_whole =
            equal && state == compare.state && behind.len() <= self.ctx.config.digest_replicas_max;
        if is_whole && !announcements_differ {
            self.hear(replica, peer, seen);
            return Response {
                uncommitted: pack_vector(&behind),
                ..Response::same(self.is_synced())
            };
        }
        if is_whole {
            let response = self.state(peer, None, state, true, None);
            return Response { uncommitted: pack_vector(&behind), ..response };
        }
        let digest = self.digest_for(replica, peer);
        self.state(peer, Some(digest), state, announcements_differ, None)
    }

    fn state(
        &self,
        peer: NodeId,
        digest: Option<DigestPiece>,
        state: Hash,
        announcements: bool,
        delta: Option<Delta>,
    ) -> Response {
        let (have, behind, part) = digest
            .map_or((None, ByteBuf::new(), None), |DigestPiece { have, behind, part }| {
                (Some(have), behind, part)
            });
        let state = StateMessage {
            have,
            part,
            state,
            synced: self.is_synced(),
            waits: self.bootstrap.waits(&self.peers, peer),
            announcements: if announcements {
                self.members.announcements(self.ctx.now)
            } else {
                Vec::new()
            },
            delta: delta.map(|delta| ByteBuf::from(delta.encode())),
        };
        Response { uncommitted: behind, ..Response::state(state) }
    }

    /// A requester is known before it is served: its record is joined first, and a requester whose
    /// record is not here gets nothing.
    fn serve_ask(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        ask: &Ask,
    ) -> Result<Served, Refusal> {
        self.take_signed(peer, &ask.announcement)?;
        let requester = ask.announcement.replica();
        self.not_ended(replica, requester)?;
        self.serves(requester)?;
        if let Some(birth) = &ask.birth {
            if birth.len() > BIRTH_BYTES_MAX {
                return Err(Refusal::TooLarge);
            }
            let delta = wire::decode_delta(birth)?;
            if delta.replicas().any(|writer| writer != requester) {
                return Err(Refusal::ForgedWriter);
            }
            self.join(replica, delta)?;
        }
        let digest = self.read_digest(
            peer,
            Some(requester.incarnation),
            (&ask.have, &ask.uncommitted),
            ask.part,
            None,
        )?;
        self.check_recorded(replica, requester)?;
        if !self.commits.keeps(replica.map(), requester) {
            return Ok(Served::Deferred(requester));
        }
        if let Some(digest) = &digest {
            self.heard(replica, peer, Some(requester.incarnation), digest);
        }
        let digest = digest.filter(|_| ask.cells);
        let page = digest.map(|digest| {
            replica.map().page_since(&digest.have, None, None, self.ctx.config.ask_bytes_max)
        });
        let whole = page
            .filter(|page| page.next.is_none() && !page.delta.is_empty())
            .map(|page| page.delta);
        let differ = Hash(self.members.hash()) != ask.announcements;
        let state = Hash(replica.state_hash().0);
        let digest = self.digest_for(replica, peer);
        Ok(self.state(peer, Some(digest), state, differ, whole).into())
    }

    fn check_recorded(&self, replica: &Replica, requester: ReplicaId) -> Result<(), Refusal> {
        if replica.map().record(requester).is_some() { Ok(()) } else { Err(Refusal::NotRecorded) }
    }

    /// Refuses an ended incarnation. It learns that way that it ended, and continues as a new one.
    pub(crate) fn not_ended(&self, replica: &Replica, requester: ReplicaId) -> Result<(), Refusal> {
        if replica.map().is_ended(requester) { Err(Refusal::Ended) } else { Ok(()) }
    }

    fn serve_pull(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        pull: &PullPage,
    ) -> Result<Served, Refusal> {
        if pull.replica.0.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        self.not_ended(replica, pull.replica.0)?;
        self.check_recorded(replica, pull.replica.0)?;
        self.serves(pull.replica.0)?;
        if !self.commits.keeps(replica.map(), pull.replica.0) {
            return Ok(Served::Deferred(pull.replica.0));
        }
        let have = unpack_vector(&pull.have, self.ctx.config.digest_replicas_max)?;
        let only = pull.writers()?;
        let cursor = pull
            .cursor
            .as_ref()
            .map(|bytes| Cursor::decode(bytes))
            .transpose()
            .map_err(|_| Refusal::Malformed)?;
        let page = replica.map().page_since(
            &have,
            only.as_deref(),
            cursor.as_ref(),
            self.ctx.config.page_bytes_max,
        );
        for span in page.delta.spans() {
            self.peers.hear_writer(peer, span.replica, span.upto);
        }
        let next = page.next.map(|next| ByteBuf::from(next.encode()));
        Ok(Response::page(PageMessage { delta: ByteBuf::from(page.delta.encode()), next }).into())
    }

    fn serve_tell(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        tell: &Tell,
    ) -> Result<Response, Refusal> {
        self.take_signed(peer, &tell.announcement)?;
        let sender = tell.announcement.replica();
        self.not_ended(replica, sender)?;
        let digest = self.read_digest(
            peer,
            Some(sender.incarnation),
            (&tell.have, &tell.uncommitted),
            tell.part,
            None,
        )?;
        if let Some(digest) = &digest {
            self.heard(replica, peer, Some(sender.incarnation), digest);
        }
        if let Some(bytes) = &tell.delta {
            let delta = wire::decode_delta(bytes)?;
            self.join_or_wait(replica, peer, delta, bytes.len())?;
        }
        if let (Some(successor), Some(digest)) = (tell.successor, &digest) {
            self.take_bequest(replica, sender, successor.0, &digest.have);
        }
        Ok(Response::noted(self.digest_for(replica, peer)))
    }
}

fn kind_of(request: &Request) -> Kind {
    match request {
        Request { compare: Some(_), .. } => Kind::Compare,
        Request { ask: Some(_), .. } => Kind::Ask,
        Request { pull: Some(_), .. } => Kind::Pull,
        Request { tell: Some(_), .. } => Kind::Tell,
        Request { ack: Some(_), .. } => Kind::Hold,
        Request { confirm: Some(_), .. } => Kind::Confirm,
        Request { digest: Some(_), .. } => Kind::Digest,
        Request { number: Some(_), .. } => Kind::Number,
        _ => Kind::Other,
    }
}
