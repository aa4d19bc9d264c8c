//! A containerd namespace for one test: its own images, containers and shim server.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::client::Events;
use crate::{Bed, Client, Container, Ctr, Image, Layer, Server, guest};

/// See the module. What it holds ends with its bed.
#[derive(Debug)]
pub struct Namespace {
    /// Where it is.
    pub bed: Arc<Bed>,
    /// Its name.
    pub name: String,
    /// Speaks to containerd about it.
    pub client: Client,
    /// Folders of all shim servers that were ever seen to serve it.
    places: Mutex<BTreeSet<PathBuf>>,
}

impl Namespace {
    pub(crate) fn new(bed: Arc<Bed>, tag: &str) -> Namespace {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{tag}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        bed.cgroups.add(&name);
        let client = Client::new(&bed.socket(), &name);
        Namespace { bed, name, client, places: Mutex::default() }
    }

    /// ctr, as a person uses it.
    pub fn ctr(&self) -> Ctr<'_> {
        Ctr::new(self)
    }

    /// Imports and unpacks an image.
    pub fn import(&self, image: &Image) {
        let tar = self.bed.folder().join(format!("{}-{}.tar", self.name, image.name().replace('/', "_")));
        image.write(&tar);
        let path = tar.display().to_string();
        self.ctr().run(&["images", "import", &path]).succeeded();
        std::fs::remove_file(tar).expect("remove an image's tar");
    }

    /// Imports an image that holds the named guests as `/bin/NAME.wasm` and nothing else.
    pub fn import_guests(&self, names: &[&str]) -> Image {
        let layer = Layer::new().directory("/bin");
        let layer =
            names.iter().fold(layer, |layer, name| layer.file(&format!("/bin/{name}.wasm"), guest(name)));
        let image = Image::new("e2e.local/guests:1").layer(layer);
        self.import(&image);
        image
    }

    /// A container under construction.
    pub fn container<'n>(&'n self, image: &Image, id: &str, args: &[&str]) -> Container<'n> {
        Container::new(self, image, id, args)
    }

    /// Records events from now on.
    pub fn events(&self) -> Events {
        self.client.events()
    }

    /// The shim servers that serve this namespace now. There should never be two.
    pub fn servers(&self) -> Vec<Server> {
        let servers = Server::find(&self.bed.socket(), &self.name);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.extend(servers.iter().map(|server| server.place.clone()));
        servers
    }

    /// The one server.
    ///
    /// # Panics
    /// When there is none or more than one.
    pub fn server(&self) -> Server {
        let mut servers = self.servers();
        assert_eq!(servers.len(), 1, "servers of namespace {}: {servers:?}", self.name);
        servers.remove(0)
    }

    /// Folders of all servers ever seen.
    pub fn places(&self) -> Vec<PathBuf> {
        self.servers();
        self.places.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Namespace {
    /// After a failure, what there is to read about it.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for server in Server::find(&self.bed.socket(), &self.name) {
            let log = std::fs::read_to_string(server.place.join("log")).unwrap_or_default();
            eprintln!("--- log of the server of {}:\n{}", self.name, last_lines(&log, 30));
        }
        let log = self.bed.log();
        let ours: Vec<_> = log.lines().filter(|line| line.contains(&self.name)).collect();
        eprintln!("--- containerd about {}:\n{}", self.name, last_lines(&ours.join("\n"), 30));
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
