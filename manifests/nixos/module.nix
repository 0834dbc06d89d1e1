# SPDX-License-Identifier: Apache-2.0
# gate64 as a service of NixOS: imports = [ ./gate64/manifests/nixos/module.nix ]; services.gate64.enable = true;
# The options below `settings` are those of src/config/schema.json. What is not set there has gate64's own default.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.gate64;
  schema = builtins.fromJSON (builtins.readFile ../../src/config/schema.json);

  typeOf =
    node:
    if node ? enum then
      lib.types.enum node.enum
    else if node ? const then
      lib.types.enum [ node.const ]
    else if node ? anyOf then
      lib.types.oneOf (map typeOf node.anyOf)
    else if node.type == "array" then
      lib.types.listOf (typeOf node.items)
    else if node.type == "object" then
      lib.types.submodule { options = optionsOf node; }
    else if node.type == "boolean" then
      lib.types.bool
    else if node.type == "integer" then
      # Nix's numbers end where JSON schema's "any" does not.
      if node ? minimum && node.minimum >= 0 then lib.types.ints.between node.minimum node.maximum else lib.types.int
    else
      lib.types.str;

  optionOf =
    node:
    lib.mkOption {
      type = lib.types.nullOr (typeOf node);
      default = null;
      description =
        (node.description or "")
        + (if node ? default then " Unless set: `${builtins.toJSON node.default}`." else "");
    };

  # A section is a set of options, a key that holds a value is an option.
  optionsOf =
    node:
    builtins.mapAttrs (_: child: if child ? properties then optionsOf child else optionOf child) node.properties;

  # Without what is null, in lists too.
  given =
    value:
    if builtins.isAttrs value then
      builtins.listToAttrs (
        builtins.concatMap (
          name: if value.${name} == null then [ ] else [ (lib.nameValuePair name (given value.${name})) ]
        ) (builtins.attrNames value)
      )
    else if builtins.isList value then
      map given value
    else
      value;

  # JSON is YAML.
  file = pkgs.writeText "gate64.yaml" (builtins.toJSON (given cfg.settings));
in
{
  options.services.gate64 = {
    enable = lib.mkEnableOption "gate64, DNS64 and eBPF NAT64";
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      description = "The gate64 that runs; built from the checkout that this module is in.";
    };
    settings = optionsOf schema;
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc."gate64/gate64.yaml".source = file;
    boot.kernel.sysctl."net.ipv6.conf.all.forwarding" = lib.mkDefault 1;
    systemd.services.gate64 = {
      description = "DNS64 and eBPF NAT64";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      unitConfig.ConditionPathExists = "/sys/kernel/btf/vmlinux";
      # A change of the file is read without a restart.
      reloadTriggers = [ file ];
      serviceConfig = {
        ExecStartPre = "${cfg.package}/bin/gate64 check";
        ExecStart = "${cfg.package}/bin/gate64 run";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "on-failure";
        RestartSec = "2";
        LimitMEMLOCK = "infinity";
        LimitNOFILE = "65536";
        CapabilityBoundingSet = "CAP_BPF CAP_NET_ADMIN CAP_NET_RAW CAP_PERFMON CAP_NET_BIND_SERVICE";
        NoNewPrivileges = "yes";
        ProtectSystem = "strict";
        ReadWritePaths = "/sys/fs/bpf /run";
        LogsDirectory = "gate64";
        LogsDirectoryMode = "0750";
        ProtectHome = "yes";
        PrivateTmp = "yes";
        ProtectClock = "yes";
        ProtectHostname = "yes";
        ProtectKernelModules = "yes";
        ProtectKernelLogs = "yes";
        ProtectControlGroups = "yes";
        PrivateDevices = "yes";
        LockPersonality = "yes";
        RestrictRealtime = "yes";
        RestrictSUIDSGID = "yes";
        RestrictNamespaces = "yes";
        RestrictAddressFamilies = "AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_UNIX";
        SystemCallArchitectures = "native";
        SystemCallFilter = "~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap";
        SystemCallErrorNumber = "EPERM";
        UMask = "0077";
      };
    };
  };
}
