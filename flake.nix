{
  description = "vexp: reruns systems experiments that are declared, not scripted";

  inputs.nixpkgs.url = "nixpkgs/nixos-25.05";

  outputs =
    { self, nixpkgs }:
    let
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};

      # What the scripts in images/common call; see engine/core/src/build/tools.rs.
      imageTools = with pkgs; [
        apt
        cpio
        dpkg
        gawk
        gzip
        mmdebstrap
        squashfsTools
        util-linux
        xz
        zstd
      ];

      # An image from its lock, which holds the evaluated image.ncl and every package with its digest: the same
      # data and the same scripts as `vexp build`. The mirror is nixpkgs' own scheme for Debian's archive.
      image =
        folder:
        let
          lock = builtins.fromJSON (builtins.readFile (./images + "/${folder}/image.lock"));
          definition = lock.definition;
          sha256 = package: builtins.substring 7 64 package.digest;
          fetched =
            package:
            package
            // {
              deb = pkgs.fetchurl {
                # A name in the Nix store can't have a `~`.
                name = "${sha256 package}.deb";
                url = "mirror://debian/${package.filename}";
                sha256 = sha256 package;
              };
            };
          packages = map fetched lock.packages;
          lines = f: builtins.concatStringsSep "\n" (map f packages) + "\n";
          words = list: builtins.concatStringsSep "\n" list + "\n";
          optional = package: if package == null then [ ] else [ package ];
          build = pkgs.runCommand "vexp-image-${definition.name}" {
            nativeBuildInputs = imageTools;
            memSize = 2048;
            SOURCE_DATE_EPOCH = toString definition.source_date_epoch;
            passAsFile = [
              "lock"
              "debs"
              "modules"
            ];
            lock = lines (
              p:
              "${p.use} ${p.package} ${p.version} ${p.architecture} ${sha256 p} ${toString p.size} ${p.filename}"
            );
            debs = lines (p: "${p.deb} ${sha256 p}.deb");
            modules = words definition.modules;
            passthru = { inherit definition packages; };
          } ''
            mkdir -p definition/${definition.name} cache
            echo ${definition.suite} > definition/${definition.name}/suite
            cp "$modulesPath" definition/${definition.name}/modules
            while read -r deb name; do ln -s "$deb" "cache/$name"; done < "$debsPath"
            cp -R ${./images/common} common
            chmod -R u+w common
            patchShebangs common/*.sh
            common/build.sh definition/${definition.name} "$lockPath" cache work "$out"
          '';
        in
        # mmdebstrap needs root, which a builder of Nix only is in a virtual machine.
        assert lock.format == 1;
        assert builtins.all (p: builtins.isString p) (
          optional definition.kernel ++ optional definition.hypervisor ++ definition.packages
        );
        pkgs.vmTools.runInLinuxVM build;

      # `.` can't stand in the name of a flake's output without quotes.
      output = folder: "image-" + builtins.replaceStrings [ "." ] [ "_" ] folder;
      folders = builtins.filter (
        name: builtins.pathExists (./images + "/${name}/image.lock")
      ) (builtins.attrNames (builtins.readDir ./images));
      images = builtins.listToAttrs (
        map (folder: {
          name = output folder;
          value = image folder;
        }) folders
      );

      vexp = pkgs.rustPlatform.buildRustPackage {
        pname = "vexp";
        version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package.version;
        src = self;
        cargoLock.lockFile = ./Cargo.lock;
        # Tests boot machines: `make test` runs them.
        doCheck = false;
      };
    in
    {
      packages.${system} = images // {
        inherit vexp;
        default = vexp;
      };

      devShells.${system}.default = pkgs.mkShell {
        packages =
          imageTools
          ++ (with pkgs; [
            cargo
            clippy
            iperf3
            iproute2
            openssh
            rustc
            rustfmt
          ]);
      };
    };
}
