#!/bin/sh
# Makes this machine ready for Bloomery: Deno, and a Vulkan driver where none is found.
# Idempotent: what is there already is left alone. Exit 0: ready. Exit 1: one line says what to do.
set -eu

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

DENO_MIN=2.9

# Root runs a command as it is, others through sudo where it asks for no password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
can_be_root() { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }

apt_install() {
  DEBIAN_FRONTEND=noninteractive as_root apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1
}
can_apt() { have apt-get && can_be_root; }
apt_update() {
  as_root apt-get update -qq >/dev/null 2>&1 || say 'apt-get update failed: going on with the package lists at hand'
}

# The first folder of PATH that we may write to.
writable_path_folder() {
  old_ifs=$IFS
  IFS=:
  for folder in $PATH; do
    if [ -d "$folder" ] && [ -w "$folder" ]; then
      IFS=$old_ifs
      printf '%s\n' "$folder"
      return 0
    fi
  done
  IFS=$old_ifs
  return 1
}

# --- Deno ------------------------------------------------------------------------------------

# Exit 0 if the binary $1 runs and is at least DENO_MIN.
new_enough() {
  "$1" eval --no-config "const [a, b] = Deno.version.deno.split('.').map(Number), [c, d] = '$DENO_MIN'.split('.').map(Number);
    Deno.exit(a > c || (a === c && b >= d) ? 0 : 1)" >/dev/null 2>&1
}

# npm's and others' `deno` can be a script around the binary, and a script may keep SIGTERM to
# itself: what we put on PATH is a link to the binary that such a script ends up running.
real_binary() { "$1" eval --no-config 'console.log(Deno.execPath())' 2>/dev/null; }

is_script() { [ "$(head -c 2 "$1" 2>/dev/null | tr -d '\0')" = '#!' ]; }

# Gets what Deno's official installer needs and bare images lack.
get_installer_tools() {
  lacking=
  have curl || lacking=' curl'
  have unzip || have 7z || lacking="$lacking unzip"
  [ -n "$lacking" ] || return 0
  can_apt || return 1
  say "installing$lacking with apt-get"
  apt_update
  # shellcheck disable=SC2086
  apt_install ca-certificates $lacking
}

install_deno() {
  tried=
  if have npm; then
    if npm install --global --no-fund --no-audit --loglevel=error deno >/dev/null 2>&1; then
      say 'Deno installed with npm'
      candidate=$(npm config get prefix 2>/dev/null)/bin/deno
      return 0
    fi
    if npm install --prefix "$HOME/.deno-npm" --no-fund --no-audit --loglevel=error deno >/dev/null 2>&1; then
      say "Deno installed with npm into $HOME/.deno-npm"
      candidate=$HOME/.deno-npm/node_modules/.bin/deno
      return 0
    fi
    tried='npm failed; '
  fi
  get_installer_tools ||
    fail "could not install Deno: ${tried}its installer needs$lacking, which apt-get could not bring (it takes root or password-free sudo): install$lacking or Deno $DENO_MIN, then run this again"
  if curl -fsSL https://deno.land/install.sh 2>/dev/null | sh -s -- --yes --no-modify-path >/dev/null 2>&1 &&
    [ -x "${DENO_INSTALL:-$HOME/.deno}/bin/deno" ]; then
    say 'Deno installed with its official installer'
    candidate=${DENO_INSTALL:-$HOME/.deno}/bin/deno
    return 0
  fi
  fail "could not install Deno: ${tried}https://deno.land/install.sh failed: install Deno $DENO_MIN or newer by hand, then run this again"
}

candidate=$(command -v deno || true)
if [ -n "$candidate" ] && new_enough "$candidate"; then
  say "Deno is there: $candidate"
else
  [ -z "$candidate" ] || say "Deno at $candidate is older than $DENO_MIN"
  install_deno
  [ -x "$candidate" ] || fail "Deno was installed, but $candidate is missing: put deno on PATH and run this again"
  new_enough "$candidate" || fail "Deno at $candidate does not run or is older than $DENO_MIN: install a newer one by hand"
fi

if [ "$(command -v deno || true)" != "$candidate" ] || is_script "$candidate"; then
  binary=$(real_binary "$candidate")
  if folder=$(writable_path_folder); then
    ln -sf "$binary" "$folder/deno"
    say "linked $folder/deno to $binary"
  else
    fail "deno is not on PATH and no folder of PATH is writable: run  export PATH=\"$(dirname "$binary"):\$PATH\"  and then this again"
  fi
fi
found=$(command -v deno || true)
if [ -z "$found" ] || ! new_enough "$found" || is_script "$found"; then
  binary=$(real_binary "$candidate")
  fail "another deno comes first on PATH (${found:-none}): run  export PATH=\"$(dirname "$binary"):\$PATH\"  and then this again"
fi

# --- A GPU driver ----------------------------------------------------------------------------

# Prints the name of the adapter that WebGPU gets from Vulkan (Metal on macOS, DirectX on Windows).
probe() {
  XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp} DENO_WEBGPU_BACKEND=${backend} deno eval --no-config '
    const a = await navigator.gpu.requestAdapter();
    if (a === null) Deno.exit(1);
    console.log(a.info.description || a.info.device || a.info.vendor || "unnamed adapter");' 2>/dev/null
}
case $(uname -s) in
  Linux) backend=vulkan ;;
  *) backend= ;;
esac

# Debian 12 has Mesa 22; Mesa 25 of its backports runs the same shaders 2.5 times faster. The line
# for the backports is the one of the machine's own bookworm source, with the suite changed.
add_backports() {
  [ "${VERSION_CODENAME:-}" = bookworm ] || return 1
  apt-cache policy 2>/dev/null | grep -q 'bookworm-backports' && return 0
  uri=$(sed -n 's/^deb[[:space:]]\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\)[[:space:]]*bookworm[[:space:]].*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | head -n 1)
  if [ -z "$uri" ]; then
    uri=$(awk '/^URIs:/ {u=$2} /^Suites:/ {for (i = 2; i <= NF; i++) if ($i == "bookworm") {print u; exit}}' \
      /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
  fi
  [ -n "$uri" ] || return 1
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  printf 'deb [signed-by=%s] %s bookworm-backports main\n' "$keyring" "$uri" |
    as_root tee /etc/apt/sources.list.d/bookworm-backports.list >/dev/null
  if as_root apt-get update -qq >/dev/null 2>&1 && apt-cache policy 2>/dev/null | grep -q 'bookworm-backports'; then
    say "added $uri bookworm-backports to the package sources, for Mesa 25"
  else
    as_root rm -f /etc/apt/sources.list.d/bookworm-backports.list
    as_root apt-get update -qq >/dev/null 2>&1 || true
    return 1
  fi
}

install_software_driver() {
  say "no Vulkan driver found: installing Mesa's software driver (lavapipe); this takes a minute"
  apt_update
  if add_backports && apt_install -t bookworm-backports libvulkan1 mesa-vulkan-drivers; then
    return 0
  fi
  apt_install libvulkan1 mesa-vulkan-drivers
}

if adapter=$(probe); then
  say "GPU adapter: $adapter"
else
  distribution=
  if [ -r /etc/os-release ]; then
    # shellcheck disable=SC1091
    . /etc/os-release
    distribution="${ID:-} ${ID_LIKE:-}"
  fi
  case " $distribution " in
    *' debian '* | *' ubuntu '*) ;;
    *) fail 'no GPU driver found: install the Vulkan driver of your GPU, or the software driver of Mesa (package mesa-vulkan-drivers or vulkan-swrast), then run this again' ;;
  esac
  can_apt ||
    fail 'no Vulkan driver found and no root or password-free sudo: run  sudo apt-get install libvulkan1 mesa-vulkan-drivers  and then this again'
  install_software_driver ||
    fail 'installing mesa-vulkan-drivers failed: run  sudo apt-get install libvulkan1 mesa-vulkan-drivers  to see why, then this again'
  adapter=$(probe) || fail 'a Vulkan driver was installed, but WebGPU still finds no adapter: run  vulkaninfo --summary  (package vulkan-tools) to see why'
  say "GPU adapter: $adapter"
fi
say "ready: deno task train"
