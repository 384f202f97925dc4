//! Answers peers' requests at once, from the present state and within bounds. Only a newcomer's
//! first request waits for the next commit.

use counter_core::{Cursor, Delta, Replica, ReplicaId, VersionVector};
use serde_bytes::ByteBuf;

use super::Replicator;
use super::digests::check_not_ended;
use crate::protocol::interface::{MessageKind, NodeId, Refusal};
use crate::protocol::promises::DeferredRequest;
use crate::protocol::wire::{self, BucketHashes, DigestPiece, Hash, in_buckets};
use crate::protocol::wire::{
    AckRequest, Ask, Compare, PageMessage, PullPage, Request, Response, StateMessage, Tell,
};
use crate::protocol::wire::{pack_vector, unpack_vector};

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
    /// True if an answer or own cells wait for a commit. After the commit, feed
    /// [`Input::LocalChange`](crate::protocol::Input::LocalChange).
    pub fn awaits_commit(&self) -> bool {
        self.committed.is_awaited()
    }

    pub(super) fn on_request(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        id: u64,
        payload: &[u8],
    ) {
        let request = wire::decode(payload, usize::MAX);
        self.ctx.out.count_in(request.as_ref().map_or(MessageKind::Other, kind_of), payload.len());
        self.answer(replica, peer, id, payload, request);
    }

    /// Answers the requests whose senders' records have reached the disk.
    pub(super) fn serve_deferred(&mut self, replica: &mut Replica) {
        for DeferredRequest { peer, id, payload, .. } in self.committed.take_kept(replica.map()) {
            self.answer(replica, peer, id, &payload, wire::decode(&payload, usize::MAX));
        }
    }

    /// Refuses the deferred requests of a peer that is gone, so that the driver keeps none of them.
    pub(super) fn refuse_deferred(&mut self, peer: NodeId) {
        for DeferredRequest { id, .. } in self.committed.take_of(peer) {
            let refused = Response::refused(Refusal::NotRecorded);
            self.ctx.out.respond(peer, id, MessageKind::Other, &refused);
        }
    }

    /// Answers a request now, or once this node's disk names its sender.
    fn answer(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        id: u64,
        payload: &[u8],
        request: Result<Request, Refusal>,
    ) {
        let kind = request.as_ref().map_or(MessageKind::Other, kind_of);
        let served = request.and_then(|request| self.serve(replica, peer, request));
        let answered = match served {
            Ok(Served::Now(response)) => Ok(*response),
            Ok(Served::Deferred(requester))
                if self.committed.defer(peer, id, payload, requester) =>
            {
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
        if !matches!(kind, MessageKind::Compare | MessageKind::Confirm) {
            // The request may show that this node lacks something. The answer goes first.
            self.begin_pulls(replica);
        }
    }

    fn serve(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        request: Request,
    ) -> Result<Served, Refusal> {
        if let Some(ask) = &request.number {
            let numbered = self.membership.serve_number(replica, peer, ask)?;
            return Ok(Response::numbered(numbered).into());
        }
        if self.membership.numbering().is_open() {
            let wants_state = request.ask.is_some() || request.compare.is_some();
            return if wants_state { Ok(unnumbered().into()) } else { Err(Refusal::NotRecorded) };
        }
        match request {
            Request { compare: Some(compare), .. } => {
                Ok(self.serve_compare(replica, peer, &compare))
            }
            Request { ask: Some(ask), .. } => return self.serve_ask(replica, peer, &ask),
            Request { pull: Some(pull), .. } => return self.serve_pull(replica, peer, &pull),
            Request { tell: Some(tell), .. } => self.serve_tell(replica, peer, &tell),
            Request { ack: Some(ack), .. } => self.serve_ack(replica, peer, &ack),
            Request { confirm: Some(confirm), .. } => self
                .stability
                .serve(&self.ctx, replica.map(), &mut self.peers, peer, &confirm)
                .map(Response::confirm),
            Request { digest: Some(digest), .. } => {
                self.take_part(replica, peer, &digest).map(|()| Response::taken())
            }
            // A later release may add a kind without raising the version.
            _ => Err(Refusal::UnknownVersion),
        }
        .map(Served::from)
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
            compare.stale || Hash(self.membership.hash()) != compare.announcements;
        if equal && state != compare.state {
            self.anti_entropy.diverged(&mut self.ctx, &mut self.peers, peer);
        }
        let uncommitted = self.exchange(replica).not_promised(&seen);
        // One message names at most this many writers with uncommitted versions.
        let is_whole = equal
            && state == compare.state
            && uncommitted.len() <= self.ctx.config.digest_replicas_max;
        if is_whole && !announcements_differ {
            self.hear(replica, peer, seen);
            return Response {
                uncommitted: pack_vector(&uncommitted),
                ..Response::same(self.is_synced())
            };
        }
        if is_whole {
            let response = self.state_response(peer, None, state, true, None);
            return Response { uncommitted: pack_vector(&uncommitted), ..response };
        }
        let is_bucketed = seen.len() >= self.ctx.config.bucketed_min;
        let fits = uncommitted.len() <= self.ctx.config.digest_replicas_max;
        match &compare.buckets {
            Some(hashes) if is_bucketed && fits => match BucketHashes::unpack(hashes) {
                Ok(hashes) => {
                    let mask = hashes.differing(&BucketHashes::of(&seen));
                    let have = pack_vector(&in_buckets(&seen, mask));
                    let part =
                        DigestPiece { have, uncommitted: pack_vector(&uncommitted), part: None };
                    let answer =
                        self.state_response(peer, Some(part), state, announcements_differ, None);
                    answer.in_buckets(mask)
                }
                // The requester sends the hashes once it knows that something differs.
                Err(_) => self.state_response(peer, None, state, false, None).differing(),
            },
            _ => {
                let digest = self.exchange(replica).digest_for(peer);
                self.state_response(peer, Some(digest), state, announcements_differ, None)
            }
        }
    }

    fn state_response(
        &self,
        peer: NodeId,
        digest: Option<DigestPiece>,
        state: Hash,
        announcements: bool,
        delta: Option<Delta>,
    ) -> Response {
        let (have, uncommitted, part) = digest
            .map_or((None, ByteBuf::new(), None), |DigestPiece { have, uncommitted, part }| {
                (Some(have), uncommitted, part)
            });
        let state = StateMessage {
            have,
            part,
            state,
            synced: self.is_synced(),
            waits: self.bootstrap.waits(&self.peers, peer),
            announcements: if announcements {
                self.membership.announcements(self.ctx.now)
            } else {
                Vec::new()
            },
            delta: delta.map(|delta| ByteBuf::from(delta.encode())),
            differs: false,
            buckets: None,
        };
        Response { uncommitted, ..Response::state(state) }
    }

    /// Joins the requester's record before serving it. A requester whose record is not here gets
    /// nothing.
    fn serve_ask(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        ask: &Ask,
    ) -> Result<Served, Refusal> {
        self.membership.take_signed(&mut self.ctx, &self.peers, peer, &ask.announcement)?;
        let requester = ask.announcement.replica();
        check_not_ended(replica, requester)?;
        self.check_served(requester)?;
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
        let incarnation = Some(requester.incarnation);
        let bytes: (&[u8], &[u8]) = (&ask.have, &ask.uncommitted);
        let digest = self.read_digest(peer, incarnation, bytes, ask.part, None)?;
        check_recorded(replica, requester)?;
        if !self.committed.keeps(replica.map(), requester) {
            return Ok(Served::Deferred(requester));
        }
        if let Some(digest) = &digest {
            self.take_digest(replica, peer, incarnation, digest);
        }
        let digest = digest.filter(|_| ask.cells);
        let page = digest.map(|digest| {
            replica.map().page_since(&digest.have, None, None, self.ctx.config.ask_bytes_max)
        });
        let whole = page
            .filter(|page| page.next.is_none() && !page.delta.is_empty())
            .map(|page| page.delta);
        let differ = Hash(self.membership.hash()) != ask.announcements;
        let state = Hash(replica.state_hash().0);
        let digest = self.exchange(replica).digest_for(peer);
        Ok(self.state_response(peer, Some(digest), state, differ, whole).into())
    }

    /// After its last statement, a leaver serves only the replicas that the statement names.
    fn check_served(&self, requester: ReplicaId) -> Result<(), Refusal> {
        if self.leave.serves(requester) { Ok(()) } else { Err(Refusal::NotRecorded) }
    }

    fn serve_pull(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        pull: &PullPage,
    ) -> Result<Served, Refusal> {
        let requester = pull.replica.0;
        if requester.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        check_not_ended(replica, requester)?;
        check_recorded(replica, requester)?;
        self.check_served(requester)?;
        if !self.committed.keeps(replica.map(), requester) {
            return Ok(Served::Deferred(requester));
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
        // The page may get lost. So the own cells count as held there only once the peer says so:
        // callers wait for such copies, and a leaver for its last cells.
        for span in page.delta.spans().filter(|span| span.replica != self.ctx.own) {
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
        self.membership.take_signed(&mut self.ctx, &self.peers, peer, &tell.announcement)?;
        let sender = tell.announcement.replica();
        check_not_ended(replica, sender)?;
        if tell.is_excerpt {
            let have = unpack_vector(&tell.have, self.ctx.config.digest_replicas_max)?;
            let heard = self.peers.get(peer).map_or(0, |peer| peer.heard().len());
            if heard + have.len() > self.ctx.config.heard_replicas_max {
                return Err(Refusal::DigestOverBound);
            }
            // This node may have folded a writer that the sender still holds.
            for (writer, version) in have.iter().filter(|(it, _)| !replica.map().is_folded(*it)) {
                self.peers.hear_writer(peer, writer, version);
            }
            return Ok(Response::taken());
        }
        let incarnation = Some(sender.incarnation);
        let bytes: (&[u8], &[u8]) = (&tell.have, &tell.uncommitted);
        let digest = self.read_digest(peer, incarnation, bytes, tell.part, None)?;
        if let Some(digest) = &digest {
            self.take_digest(replica, peer, incarnation, digest);
        }
        if let Some(bytes) = &tell.delta {
            let delta = wire::decode_delta(bytes)?;
            self.join_or_wait(replica, peer, delta, bytes.len())?;
        }
        if let (Some(successor), Some(digest)) = (tell.successor, &digest) {
            self.take_named_successor(replica, sender, successor.0, &digest.have);
        }
        Ok(Response::noted(self.exchange(replica).digest_for(peer)))
    }

    /// A peer asks how much of its own writer this node holds, and may bring the cells along.
    fn serve_ack(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        ack: &AckRequest,
    ) -> Result<Response, Refusal> {
        let writer = ack.replica.0;
        if writer.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        check_not_ended(replica, writer)?;
        if let Some(bytes) = &ack.delta {
            let delta = wire::decode_delta(bytes)?;
            if delta.replicas().any(|other| other != writer) {
                return Err(Refusal::ForgedWriter);
            }
            if delta.has_open_part() {
                return Err(Refusal::Malformed);
            }
            self.join_or_wait(replica, peer, delta, bytes.len())?;
        }
        Ok(Response::ack(replica.map().seen_of(writer)))
    }
}

/// The answer to a peer that asks before this node's number is settled. It says that this node
/// holds nothing yet and is worth waiting for.
fn unnumbered() -> Response {
    Response::state(StateMessage {
        have: Some(pack_vector(&VersionVector::new())),
        part: None,
        state: Hash(0),
        synced: false,
        waits: true,
        announcements: Vec::new(),
        delta: None,
        differs: false,
        buckets: None,
    })
}

fn check_recorded(replica: &Replica, requester: ReplicaId) -> Result<(), Refusal> {
    if replica.map().record(requester).is_some() { Ok(()) } else { Err(Refusal::NotRecorded) }
}

fn kind_of(request: &Request) -> MessageKind {
    match request {
        Request { compare: Some(_), .. } => MessageKind::Compare,
        Request { ask: Some(_), .. } => MessageKind::Ask,
        Request { pull: Some(_), .. } => MessageKind::Pull,
        Request { tell: Some(_), .. } => MessageKind::Tell,
        Request { ack: Some(_), .. } => MessageKind::Ack,
        Request { confirm: Some(_), .. } => MessageKind::Confirm,
        Request { digest: Some(_), .. } => MessageKind::Digest,
        Request { number: Some(_), .. } => MessageKind::Number,
        _ => MessageKind::Other,
    }
}
