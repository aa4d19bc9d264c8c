//! Promise: images come through a real pull and run as documented; what containerd does not let through fails in words.
//! Real: containerd's pull over HTTP from a registry on loopback.

use cri::{Node, guests};
use e2e::{Image, Layer, guest};

fn hello(name: &str) -> Image {
    guests(name, &["hello"])
}

/// What `hello.c` says.
fn runs(scene: &cri::Scene, image: &Image) {
    let pod = image.name().replace(['.', '/', ':'], "-");
    let (status, text) = scene.pod(&pod).run().container("main", image, &[]).run();
    assert_eq!(status.exit_code, 0, "{status:?}");
    assert!(text.to_lowercase().contains("hello"), "{text}");
}

#[test]
fn the_documented_form_from_scratch_for_linux_runs_its_own_entry_point() {
    runs(&Node::shared().scene("scratch"), &hello("scratch"));
}

#[test]
fn an_image_of_several_layers_in_an_index_runs() {
    let scene = Node::shared().scene("layers");
    let image = Image::new("e2e.local/layers:1")
        .layer(Layer::new().file("/hello.wasm", "overwritten").file("/text", "lower"))
        .layer(Layer::new().file("/hello.wasm", guest("hello")).file("/file.wasm", guest("file")))
        .layer(Layer::new().file("/text", "upper"))
        .entrypoint(&["/hello.wasm"])
        .in_an_index();
    runs(&scene, &image);
    let read = scene.pod("b").run().container("main", &image, &["/file.wasm", "read", "/text"]);
    assert_eq!(read.run().1.trim_end(), "upper");
}

#[test]
fn a_single_manifest_for_wasi_runs() {
    let scene = Node::shared().scene("wasi");
    for (name, os) in [("for-wasi", "wasi"), ("for-wasip1", "wasip1")] {
        let image = hello(name).platform(os, "wasm");
        scene.node.try_pull(&image).unwrap();
        runs(&scene, &image);
    }
}

#[test]
fn an_index_for_wasi_alone_is_refused_by_containerd_in_words() {
    let scene = Node::shared().scene("wasi-index");
    let image = hello("index-for-wasi").platform("wasi", "wasm").in_an_index();
    let error = scene.node.try_pull(&image).unwrap_err();
    assert!(error.message().contains("no match for platform in manifest"), "{error}");
}

#[test]
fn layers_that_images_share_are_pulled_once() {
    let scene = Node::shared().scene("shared");
    let base = Layer::new().file("/hello.wasm", guest("hello")).file("/one-of-a-kind", "x");
    let one = Image::new("e2e.local/one:1").layer(base.clone()).entrypoint(&["/hello.wasm"]);
    let other = Image::new("e2e.local/other:1")
        .layer(base)
        .layer(Layer::new().file("/y", "y"))
        .entrypoint(&["/hello.wasm"]);
    runs(&scene, &one);
    runs(&scene, &other);
    let asked = scene.node.registry.asked();
    for blob in one.contents().blobs.iter().filter(|blob| blob.media_type.ends_with("layer.v1.tar")) {
        let times = asked.iter().filter(|path| path.ends_with(&blob.digest)).count();
        assert_eq!(times, 1, "{}", blob.digest);
    }
}

#[test]
fn what_is_no_module_says_what_it_is() {
    let scene = Node::shared().scene("no-module");
    let pod = scene.pod("a").run();
    let image = Image::new("e2e.local/odd:1").layer(
        Layer::new()
            .file("/empty.wasm", "")
            .file("/text.wasm", "hello")
            .file("/native.aot", b"\0aot\x05\0\0\0"),
    );
    for (path, reason) in
        [("/empty.wasm", "empty"), ("/text.wasm", "text.wasm"), ("/native.aot", "native code")]
    {
        let error = pod.container(&path[1..6], &image, &[path]).try_start().unwrap_err();
        assert!(error.message().contains(path) && error.message().contains(reason), "{error}");
    }
}
