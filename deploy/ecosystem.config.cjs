// pm2 start ecosystem.config.cjs && pm2 save && pm2 startup
module.exports = {
  apps: [
    {
      name: "wx-gateway",
      cwd: "/var/lib/wx-gateway",
      script: "/opt/wx-gateway/.venv/bin/gateway",
      args: "serve --config /etc/wx-gateway/gateway.toml",
      interpreter: "none", // it is a program of its own, not for node
      exec_mode: "fork", // processes are the gateway's own business: --workers N
      instances: 1,
      // pm2 sends SIGINT and kills after 1.6 s by default: too soon for phones to be told. Longer than
      // shutdown.timeout (30s).
      kill_timeout: 45000,
      max_restarts: 20,
      exp_backoff_restart_delay: 500,
      merge_logs: true,
    },
  ],
};
