"""Configurations that people copy, shortened to the directives that affect a location."""
import pytest

INCLUDE = "include health-api.conf;"

DEBIAN = f"""
    {INCLUDE}
    root DIR/www;
    index index.html index.htm index.nginx-debian.html;
    server_name _;
    location / {{ try_files $uri $uri/ =404; }}
    location ~ \\.php$ {{ include /etc/nginx/snippets/fastcgi-php.conf; fastcgi_pass unix:/run/php/php8.2-fpm.sock; }}
    location ~ /\\.ht {{ deny all; }}
"""
WORDPRESS = f"""
    {INCLUDE}
    server_name example.org;
    root DIR/www;
    index index.php;
    location = /favicon.ico {{ log_not_found off; access_log off; }}
    location / {{ try_files $uri $uri/ /index.php?$args; }}
    location ~* \\.(js|css|png|jpg|jpeg|gif|ico)$ {{ expires max; log_not_found off; }}
    location ~ \\.php$ {{
        include fastcgi_params; fastcgi_intercept_errors on; fastcgi_pass unix:/run/php/wordpress.sock;
        fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
        fastcgi_buffers 16 16k; fastcgi_buffer_size 32k;
    }}
"""
NEXTCLOUD_HTTP = """
    upstream php-handler { server unix:/run/php/nextcloud.sock; }
    map $arg_v $asset_immutable { "" ""; default "immutable"; }
"""
NEXTCLOUD = f"""
    {INCLUDE}
    server_name cloud.example.com;
    server_tokens off;
    client_max_body_size 512M; client_body_timeout 300s; fastcgi_buffers 64 4K; client_body_buffer_size 512k;
    gzip on; gzip_vary on; gzip_comp_level 4; gzip_min_length 1;
    gzip_proxied expired no-cache no-store private no_last_modified no_etag auth;
    gzip_types application/json application/javascript text/css text/plain;
    add_header Referrer-Policy "no-referrer" always;
    add_header X-Content-Type-Options "nosniff" always;
    add_header X-Frame-Options "SAMEORIGIN" always;
    add_header Strict-Transport-Security "max-age=15768000; includeSubDomains; preload" always;
    fastcgi_hide_header X-Powered-By;
    root DIR/www;
    index index.php index.html /index.php$request_uri;
    location = / {{ if ( $http_user_agent ~ ^DavClnt ) {{ return 302 /remote.php/webdav/$is_args$args; }} }}
    location ~ ^/(?:build|tests|config|lib|3rdparty|templates|data)(?:$|/) {{ return 404; }}
    location ~ ^/(?:\\.|autotest|occ|issue|indie|db_|console) {{ return 404; }}
    location ~ \\.php(?:$|/) {{
        rewrite ^/(?!index|remote|public|cron|core\\/ajax\\/update|status|ocs\\/v[12]) /index.php$request_uri;
        include fastcgi_params; fastcgi_pass php-handler; fastcgi_intercept_errors on; fastcgi_request_buffering off;
        fastcgi_max_temp_file_size 0;
    }}
    location / {{ try_files $uri $uri/ /index.php$request_uri; }}
"""
PROXY_HTTP = """
    proxy_cache_path DIR/tmp/cache keys_zone=app:1m;
    map $http_upgrade $connection_upgrade { default upgrade; "" close; }
"""
PROXY = f"""
    {INCLUDE}
    proxy_intercept_errors on; proxy_cache app; proxy_cache_valid any 1m; proxy_read_timeout 3600s; proxy_buffering off;
    error_page 500 502 503 504 /50x.html;
    location = /50x.html {{ root DIR/www; }}
    location / {{
        proxy_pass http://127.0.0.1:1; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
"""
# Requests by address reach the first server block, and the second one has the name.
DEFAULT_SERVER = f"server_name _; {INCLUDE} return 444;"
NAMED = f"server {{ listen 127.0.0.1:PORT; server_name example.org; root DIR/www; }}"
REDIRECT = f"{INCLUDE} server_name example.org; return 301 https://$host$request_uri;"
# `certbot --nginx --redirect` leaves this in the block for port 80, with the if at the top. The include has been added.
CERTBOT = f"""
    {INCLUDE}
    if ($host = 127.0.0.1) {{ return 301 https://$host$request_uri; }} # managed by Certbot
    server_name 127.0.0.1;
    return 404; # managed by Certbot
"""
LARAVEL_HTTP = "charset_types application/json text/css; fastcgi_buffers 16 32k; fastcgi_buffer_size 64k; fastcgi_busy_buffers_size 64k;"
LARAVEL = f"""
    {INCLUDE}
    root DIR/www; index index.php; charset utf-8; error_page 404 /index.php;
    add_header X-Frame-Options "SAMEORIGIN"; add_header X-Content-Type-Options "nosniff";
    location / {{ try_files $uri $uri/ /index.php?$query_string; }}
    location ~ ^/index\\.php(/|$) {{ fastcgi_pass unix:/run/php/laravel.sock; include fastcgi_params; fastcgi_hide_header X-Powered-By; }}
    location ~ /\\.(?!well-known).* {{ deny all; }}
"""
STAGING = f"""
    {INCLUDE}
    satisfy all; allow 192.0.2.0/24; deny all; auth_basic "staging"; auth_basic_user_file DIR/none; root DIR/www;
"""
MAINTENANCE = f"""
    {INCLUDE}
    root DIR/www; recursive_error_pages on; error_page 503 /50x.html;
    if (-f $document_root/index.html) {{ return 503; }}
"""
CDN_HTTP = """
    set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For; real_ip_recursive on; server_tokens off;
    limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m; limit_conn_zone $binary_remote_addr zone=addr:1m;
    limit_req zone=one; limit_conn addr 1; limit_req_status 429;
"""
MICROCACHE_HTTP = """
    fastcgi_cache_path DIR/tmp/micro keys_zone=micro:1m; fastcgi_cache micro; fastcgi_cache_key $request_uri;
    fastcgi_cache_valid any 1h; fastcgi_ignore_headers Cache-Control Expires; fastcgi_cache_lock on;
    add_header X-Cache $upstream_cache_status; open_file_cache max=100; sendfile on; tcp_nopush on;
"""

REAL_SITES = [
    pytest.param({"server": DEBIAN}, id="debian"),
    pytest.param({"server": WORDPRESS, "http": "gzip on; gzip_types application/json; keepalive_timeout 65;"}, id="wordpress"),
    pytest.param({"server": NEXTCLOUD, "http": NEXTCLOUD_HTTP}, id="nextcloud"),
    pytest.param({"server": PROXY, "http": PROXY_HTTP}, id="proxy"),
    pytest.param({"server": DEFAULT_SERVER, "listen": "listen 127.0.0.1:PORT default_server;", "others": NAMED}, id="default_server"),
    pytest.param({"server": REDIRECT}, id="redirect"),
    pytest.param({"server": CERTBOT}, id="certbot"),
    pytest.param({"server": LARAVEL, "http": LARAVEL_HTTP}, id="laravel"),
    pytest.param({"server": STAGING}, id="staging"),
    pytest.param({"server": MAINTENANCE}, id="maintenance"),
    pytest.param({"server": f"{INCLUDE} root DIR/www;", "http": CDN_HTTP}, id="cdn"),
    pytest.param({"server": f"{INCLUDE} include health-api-strict.conf; root DIR/www;", "http": MICROCACHE_HTTP}, id="microcache"),
]
