//! A campaign: clients, one directory, and a server on it that is killed again and again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::bank::books::Books;
use crate::bank::checks;
use crate::bank::http::Connection;
use crate::bank::orders::OpenAccounts;
use crate::bank::server::{Home, Server, copy, verify};
use crate::client::{Client, Halt, Tally};

const CLIENTS: u64 = 24;
/// How many shards the log has: transfers go from one to another.
const SHARDS: u32 = 3;
/// The name of the server and of its log's directory.
const BANK: &str = "bank";
/// How many kills come before the clients open new accounts: views rewrite a whole statement for each movement.
const KILLS_PER_GENERATION: u64 = 10;
/// When a kill comes, in milliseconds after the server listens.
const KILL_AFTER_MIN_MS: u64 = 20;
const KILL_AFTER_MAX_MS: u64 = 1_000;
/// One of how many kills comes while the server opens.
const OPENING_ONE_IN: u64 = 5;

pub struct Campaign {
    home: Home,
    clients: Vec<Client>,
    first_seed: u64,
    generation: u64,
    pub figures: Figures,
}

/// What a campaign came to.
#[derive(Debug, Default)]
pub struct Figures {
    pub kills: u64,
    kills_while_opening: u64,
    openings: Vec<Duration>,
    tally: Tally,
    accepted: u64,
    refused: u64,
    transfers: usize,
    returned: usize,
    accounts: usize,
}

impl Campaign {
    /// Says its seed, which a failing test shows.
    pub fn new(first_seed: u64) -> Self {
        println!("first seed {first_seed}");
        let open = OpenAccounts::default();
        let clients = (0..CLIENTS).map(|number| Client::new(number, OpenAccounts::clone(&open))).collect();
        Self { home: Home::new(), clients, first_seed, generation: 0, figures: Figures::default() }
    }

    /// Makes this many kills, some of them while the server opens.
    pub fn kills(&mut self, kills: u64) -> Result<(), String> {
        for _ in 0..kills {
            let seed = self.seed();
            let while_opening =
                self.figures.kills > 0 && ChaCha8Rng::seed_from_u64(seed).next_u64() % OPENING_ONE_IN == 0;
            let made = if while_opening { self.kill_while_opening() } else { self.kill_under_load() };
            made.map_err(|wrong| format!("seed {seed}: {wrong}"))?;
        }
        Ok(())
    }

    /// Starts the server, lets the clients work, and kills it in the middle.
    pub fn kill_under_load(&mut self) -> Result<(), String> {
        let seed = self.seed();
        if self.figures.kills >= self.generation * KILLS_PER_GENERATION {
            self.clients.iter_mut().for_each(|client| client.open_account(self.generation));
            self.generation += 1;
        }
        let (mut server, address) = self.open()?;
        let delay = KILL_AFTER_MIN_MS + self.moment() % (KILL_AFTER_MAX_MS - KILL_AFTER_MIN_MS);
        let struck = AtomicBool::new(false);
        let (address, struck) = (&address, &struck);
        std::thread::scope(|scope| {
            let working: Vec<_> = self
                .clients
                .iter_mut()
                .map(|client| scope.spawn(move || client.work(address, seed, struck)))
                .collect();
            std::thread::sleep(Duration::from_millis(delay));
            let ran = server.must_run();
            struck.store(true, Ordering::SeqCst);
            server.kill();
            let worked = working.into_iter().map(|client| client.join().unwrap());
            ran.and(worked.collect::<Result<Vec<()>, _>>().map(drop))
        })?;
        self.figures.kills += 1;
        Ok(())
    }

    /// Kills the server while it opens, or just when it has.
    fn kill_while_opening(&mut self) -> Result<(), String> {
        let usual = self.figures.openings.last().map_or(Duration::ZERO, |opening| *opening * 5 / 4);
        let delay = self.moment() % u64::try_from(usual.as_micros()).unwrap().max(1);
        let mut server = Server::start(&self.home, BANK, &self.log());
        std::thread::sleep(Duration::from_micros(delay));
        server.must_run()?;
        server.kill();
        self.figures.kills += 1;
        self.figures.kills_while_opening += 1;
        Ok(())
    }

    /// The log is sound, then everything is asked again and compared, then the server stops and the log is sound.
    pub fn finish(&mut self) -> Result<(), String> {
        verify(&self.log()).map_err(|wrong| format!("after the last kill: {wrong}"))?;
        let (server, address) = self.open()?;
        self.confirm_all(&address)?;
        let mut connection = Connection::open(&address).map_err(|cut| cut.0)?;
        checks::wait_for_rest(&mut connection)?;
        let books = Books::of(self.clients.iter().flat_map(|client| &client.asked))?;
        checks::all(&mut connection, &books)?;
        drop(connection);
        server.stop()?;
        verify(&self.log()).map_err(|wrong| format!("at the end: {wrong}"))?;
        let errors = self.home.errors(BANK);
        if errors.contains("panicked") {
            return Err(format!("the server panicked: {errors}"));
        }
        self.note(&books);
        Ok(())
    }

    fn log(&self) -> String {
        format!("file:{}?shards={SHARDS}", self.home.path(BANK).display())
    }

    fn open(&mut self) -> Result<(Server, String), String> {
        let mut server = Server::start(&self.home, BANK, &self.log());
        let (address, took) = server.address()?;
        self.figures.openings.push(took);
        Ok((server, address))
    }

    fn confirm_all(&mut self, address: &str) -> Result<(), String> {
        let confirmed: Result<Vec<()>, Halt> = std::thread::scope(|scope| {
            let confirming: Vec<_> = self
                .clients
                .iter_mut()
                .map(|client| scope.spawn(move || client.confirm_all(address)))
                .collect();
            confirming.into_iter().map(|client| client.join().unwrap()).collect()
        });
        match confirmed {
            Ok(_) => Ok(()),
            Err(Halt::Wrong(wrong)) => Err(wrong),
            Err(Halt::Cut(why)) => Err(format!("a connection was cut, and it was no kill: {why}")),
        }
    }

    fn note(&mut self, books: &Books) {
        let figures = &mut self.figures;
        for tally in self.clients.iter().map(|client| client.tally) {
            figures.tally.confirmed += tally.confirmed;
            figures.tally.cut += tally.cut;
            figures.tally.had_effect += tally.had_effect;
            figures.tally.put_off += tally.put_off;
        }
        (figures.accepted, figures.refused) = (books.accepted, books.refused);
        figures.transfers = books.transfers.len();
        figures.returned = books.transfers.values().filter(|transfer| !transfer.arrives).count();
        figures.accounts = books.accounts.len();
    }

    /// Each kill has its own seed.
    fn seed(&self) -> u64 {
        self.first_seed.wrapping_add(self.figures.kills)
    }

    /// What the moment of the next kill is made from.
    fn moment(&self) -> u64 {
        let mut dice = ChaCha8Rng::seed_from_u64(self.seed());
        dice.set_stream(CLIENTS);
        dice.next_u64()
    }

    /// Makes a client believe it was answered what it never sent.
    pub fn pretend_an_answer(&mut self) {
        self.clients[0].pretend_an_answer();
    }

    /// Money comes in that no client knows of.
    pub fn deposit_behind_the_clients_backs(&mut self) -> Result<(), String> {
        let (mut server, address) = self.open()?;
        let mut connection = Connection::open(&address).map_err(|cut| cut.0)?;
        let path = "/api/bank/account/a0-0/deposit";
        let answer = connection.post(path, "stranger", r#"{"amount":1}"#).map_err(|cut| cut.0)?;
        assert_eq!(answer.status, 200, "{answer:?}");
        server.kill();
        Ok(())
    }

    /// Copies the log and the views of a server that is dead.
    pub fn copy_directory(&self) -> PathBuf {
        let earlier = self.home.path("earlier");
        copy(&self.home.path(BANK), &earlier);
        earlier
    }

    pub fn set_directory_back(&self, earlier: &Path) {
        std::fs::remove_dir_all(self.home.path(BANK)).unwrap();
        copy(earlier, &self.home.path(BANK));
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { confirmed, cut, had_effect, put_off } = self.tally;
        let mut openings = self.openings.clone();
        openings.sort_unstable();
        let ms = |index: usize| openings.get(index).map_or(0, Duration::as_millis);
        writeln!(f, "{} kills, {} of them while opening", self.kills, self.kills_while_opening)?;
        writeln!(
            f,
            "  {} commands acknowledged ({} accepted, {} refused) on {} accounts, {} transfers ({} returned)",
            self.accepted + self.refused,
            self.accepted,
            self.refused,
            self.accounts,
            self.transfers,
            self.returned
        )?;
        writeln!(f, "  {confirmed} times sent again after an answer, and answered the same")?;
        writeln!(
            f,
            "  {cut} cut off by a kill, then settled: {had_effect} had had their effect; {put_off} put off"
        )?;
        write!(
            f,
            "  opening took {} ms (median), {} ms at most",
            ms(openings.len() / 2),
            ms(openings.len() - 1)
        )
    }
}
