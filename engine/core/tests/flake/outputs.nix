# The outputs of flake.nix with everything in them evaluated, made small.
{ flake }:
let
  outputs = (import flake).outputs {
    self = "/source";
    nixpkgs = import ./nixpkgs.nix;
  };
  packages = outputs.packages.x86_64-linux;
  image = name: {
    inherit (packages.${name}) name vm lock debs modules;
    definition = packages.${name}.passthru.definition.name;
  };
  images = builtins.filter (name: builtins.substring 0 6 name == "image-") (builtins.attrNames packages);
in
{
  packages = builtins.attrNames packages;
  images = builtins.listToAttrs (map (name: { inherit name; value = image name; }) images);
  version = packages.vexp.version;
  shell = outputs.devShells.x86_64-linux.default.packages;
}
