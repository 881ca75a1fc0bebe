//! Generates the gRPC code from `signalbox/v1/*.proto` with a compiler written
//! in Rust, so that no protoc is needed on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=signalbox");
    #[cfg(feature = "grpc")]
    {
        let files = protox::compile(["signalbox/v1/ingest.proto", "signalbox/v1/enrol.proto"], ["."])?;
        tonic_prost_build::configure().bytes(".signalbox.v1.Batch.columns").compile_fds(files)?;
    }
    Ok(())
}
